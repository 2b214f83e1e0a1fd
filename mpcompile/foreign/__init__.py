"""Models that were not written here: recorded by a reader, held to what they compute, and asked what they promise."""

from mpcompile.foreign.answers import answer
from mpcompile.foreign.claims import ForeignClaim
from mpcompile.foreign.model import ForeignModel, Lengthened, Sized
from mpcompile.foreign.readers import Unimportable, imported, model_of
from mpcompile.foreign.recording import Recording, Unrecordable
from mpcompile.foreign.report import checked
from mpcompile.foreign.series import LENGTHS
from mpcompile.foreign.verdict import Answer, Unclear

__all__ = [
    "LENGTHS",
    "Answer",
    "ForeignClaim",
    "ForeignModel",
    "Lengthened",
    "Recording",
    "Sized",
    "Unclear",
    "Unimportable",
    "Unrecordable",
    "answer",
    "checked",
    "imported",
    "model_of",
]  # fmt: skip
