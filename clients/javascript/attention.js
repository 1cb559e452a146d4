// Shifted window attention, straight from the definition: two tokens attend to each other if they share a window.
// swin-oracle check -- node attention.js
"use strict";
const { serve, Declined } = require("./swin_client.js");

const transposed = process.argv[2] === "transposed"; // a planted bug: the bias of (dw, dh)

function linear(x, weight, bias) {
  const [out, inputs] = weight.shape;
  if (x.shape.at(-1) !== inputs) throw new Error("tokens have as many channels as the weight");
  const rows = x.data.length / inputs;
  const data = new Float64Array(rows * out);
  for (let r = 0; r < rows; r++)
    for (let o = 0; o < out; o++) {
      let sum = bias ? bias.data[o] : 0;
      for (let i = 0; i < inputs; i++) sum += x.data[r * inputs + i] * weight.data[o * inputs + i];
      data[r * out + o] = sum;
    }
  return { shape: [...x.shape.slice(0, -1), out], data };
}

function attention(words, arrays) {
  if (words.cmd !== "shifted_window_attention") throw new Error(`unknown command ${words.cmd}`);
  const { x, "params.relative_position_bias_table": table } = arrays;
  const [B, H, W, C] = x.shape;
  const [Mh, Mw] = words.window_size.split(",").map(Number);
  const [sh, sw] = words.shift_size.split(",").map(Number);
  const heads = Number(words.num_heads), d = C / heads;
  if (H % Mh || W % Mw) throw new Declined("grids of whole windows only");
  const qkv = linear(x, arrays["params.qkv.weight"], arrays["params.qkv.bias"]).data;
  const y = { shape: x.shape, data: new Float64Array(x.data.length) };
  const token = (b, h, w) => (b * H + h) * W + w;
  for (let b = 0; b < B; b++) for (let h = 0; h < H; h++) for (let w = 0; w < W; w++) for (let head = 0; head < heads; head++) {
    const top = Math.floor((h - sh) / Mh) * Mh + sh, left = Math.floor((w - sw) / Mw) * Mw + sw;
    const logits = [], keys = [];
    const q = token(b, h, w) * 3 * C + head * d;
    for (let kh = Math.max(0, top); kh < Math.min(H, top + Mh); kh++)
      for (let kw = Math.max(0, left); kw < Math.min(W, left + Mw); kw++) {
        const dh = h - kh, dw = w - kw, k = token(b, kh, kw) * 3 * C + C + head * d;
        const row = transposed ? (dw + Mw - 1) * (2 * Mh - 1) + dh + Mh - 1 : (dh + Mh - 1) * (2 * Mw - 1) + dw + Mw - 1;
        let dot = 0;
        for (let i = 0; i < d; i++) dot += qkv[q + i] * qkv[k + i];
        logits.push(dot / Math.sqrt(d) + table.data[row * heads + head]);
        keys.push(k);
      }
    const most = logits.reduce((a, b) => Math.max(a, b));
    const weights = logits.map((logit) => Math.exp(logit - most));
    const sum = weights.reduce((a, b) => a + b);
    const out = token(b, h, w) * C + head * d;
    keys.forEach((k, n) => { for (let i = 0; i < d; i++) y.data[out + i] += (weights[n] / sum) * qkv[k + C + i]; });
  }
  return { result: linear(y, arrays["params.proj.weight"], arrays["params.proj.bias"]) };
}

serve({ name: "attention", precision: "float32", offers: "shifted_window_attention" }, attention);
