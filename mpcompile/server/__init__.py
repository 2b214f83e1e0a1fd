"""The language server (LSP 3.17) for specs in both syntaxes; the only room that needs `pygls` (extra `editor`).

An editor sends the text of a spec as it is typed. Reading and lowering it gives findings and shapes at once (`document`);
the proofs follow in a thread of their own, and stop when the text changes (`session`).
"""
