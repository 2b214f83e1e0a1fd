"""Helpers of emitted code around torch's kernels for whole recurrent layers."""

from __future__ import annotations

#: What is written above the classes for each kernel that is called, `fused_<name>`. It is told that it trains wherever a
#: gradient may be asked for: cuDNN keeps nothing for the way back otherwise, and refuses it.
HELPERS = {
    "lstm": '''def fused_lstm(
    x: Tensor, h: Tensor, c: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Run an LSTM on x [N, time, F] from h, c [N, U]: all h, the last h, c. Gates: i, f, g, o."""
    weights = [weight_ih, weight_hh, bias, torch.zeros_like(bias)]
    training = torch.is_grad_enabled()
    ys, h, c = torch.lstm(x, [h[None], c[None]], weights, True, 1, 0.0, training, False, True)
    return ys, h[0], c[0]
''',
    "gru": '''def fused_gru(
    x: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, bias_hn: Tensor
) -> tuple[Tensor, Tensor]:
    """Run a GRU on x [N, time, F] from h [N, U]: all h, the last h. Gates: r, z, n."""
    weights = [weight_ih, weight_hh, bias, F.pad(bias_hn, (2 * bias_hn.shape[0], 0))]
    training = torch.is_grad_enabled()
    ys, h = torch.gru(x, h[None], weights, True, 1, 0.0, training, False, True)
    return ys, h[0]
''',
    "rnn": '''def fused_rnn(
    x: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Run Elman's network with tanh on x [N, time, F] from h [N, U]: all h, and the last."""
    weights = [weight_ih, weight_hh, bias, torch.zeros_like(bias)]
    training = torch.is_grad_enabled()
    ys, h = torch.rnn_tanh(x, h[None], weights, True, 1, 0.0, training, False, True)
    return ys, h[0]
''',
    "lstm_unbiased": '''def fused_lstm_unbiased(
    x: Tensor, h: Tensor, c: Tensor, weight_ih: Tensor, weight_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Run an LSTM without biases on x [N, time, F] from h, c [N, U]: all h, the last h and c."""
    weights = [weight_ih, weight_hh]
    training = torch.is_grad_enabled()
    ys, h, c = torch.lstm(x, [h[None], c[None]], weights, False, 1, 0.0, training, False, True)
    return ys, h[0], c[0]
''',
    "gru_unbiased": '''def fused_gru_unbiased(
    x: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """Run a GRU without biases on x [N, time, F] from h [N, U]: all h, the last. Gates r, z, n."""
    weights = [weight_ih, weight_hh]
    training = torch.is_grad_enabled()
    ys, h = torch.gru(x, h[None], weights, False, 1, 0.0, training, False, True)
    return ys, h[0]
''',
    "rnn_unbiased": '''def fused_rnn_unbiased(
    x: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """Run Elman's network without biases on x [N, time, F] from h [N, U]: all h, and the last."""
    weights = [weight_ih, weight_hh]
    training = torch.is_grad_enabled()
    ys, h = torch.rnn_tanh(x, h[None], weights, False, 1, 0.0, training, False, True)
    return ys, h[0]
''',
}
