//! Shifted window attention, straight from the definition: two tokens attend to each other if they share a window.
//! rustc --edition 2021 -O attention.rs && swin-oracle check -- ./attention
mod swin_client;
use swin_client::{serve, Array, Arrays, No, Words};

fn linear(x: &Array, weight: &Array, bias: Option<&Array>) -> Result<Array, No> {
    let (out, inputs) = (weight.shape[0], weight.shape[1]);
    if x.shape.last() != Some(&inputs) {
        return Err(No::Failed("tokens have as many channels as the weight".into()));
    }
    let mut y = Array { shape: x.shape.clone(), data: Vec::new() };
    *y.shape.last_mut().unwrap() = out;
    for token in x.data.chunks(inputs) {
        for (o, row) in weight.data.chunks(inputs).enumerate() {
            let sum: f64 = token.iter().zip(row).map(|(a, b)| a * b).sum();
            y.data.push(sum + bias.map_or(0.0, |bias| bias.data[o]));
        }
    }
    Ok(y)
}

fn attention(words: &Words, arrays: &Arrays, transposed: bool) -> Result<Arrays, No> {
    if words["cmd"] != "shifted_window_attention" {
        return Err(No::Failed("unknown command".into()));
    }
    let pair = |name: &str| -> Vec<i64> { words[name].split(',').map(|word| word.parse().unwrap()).collect() };
    let (window, shift, heads) = (pair("window_size"), pair("shift_size"), words["num_heads"].parse::<usize>().unwrap());
    let (x, table) = (&arrays["x"], &arrays["params.relative_position_bias_table"].data);
    let (batch, height, width, channels) = (x.shape[0], x.shape[1] as i64, x.shape[2] as i64, x.shape[3]);
    let (mh, mw, d) = (window[0], window[1], channels / heads);
    if height % mh != 0 || width % mw != 0 {
        return Err(No::Declined("grids of whole windows only".into()));
    }
    let qkv = linear(x, &arrays["params.qkv.weight"], arrays.get("params.qkv.bias"))?.data;
    let mut y = Array { shape: x.shape.clone(), data: vec![0.0; x.data.len()] };
    let token = |b: usize, h: i64, w: i64| ((b as i64 * height + h) * width + w) as usize;
    for b in 0..batch { for h in 0..height { for w in 0..width { for head in 0..heads {
        let top = (h - shift[0]).div_euclid(mh) * mh + shift[0];
        let left = (w - shift[1]).div_euclid(mw) * mw + shift[1];
        let (mut logits, mut keys) = (Vec::new(), Vec::new());
        let q = token(b, h, w) * 3 * channels + head * d;
        for kh in top.max(0)..(top + mh).min(height) { for kw in left.max(0)..(left + mw).min(width) {
            let (dh, dw) = (h - kh + mh - 1, w - kw + mw - 1);
            // A planted bug: the bias of (dw, dh).
            let row = if transposed { dw * (2 * mh - 1) + dh } else { dh * (2 * mw - 1) + dw } as usize;
            let k = token(b, kh, kw) * 3 * channels + channels + head * d;
            let dot: f64 = (0..d).map(|i| qkv[q + i] * qkv[k + i]).sum();
            logits.push(dot / (d as f64).sqrt() + table[row * heads + head]);
            keys.push(k);
        } }
        let most = logits.iter().cloned().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
        let (sum, out) = (weights.iter().sum::<f64>(), token(b, h, w) * channels + head * d);
        for (weight, k) in weights.iter().zip(keys) {
            for i in 0..d { y.data[out + i] += weight / sum * qkv[k + channels + i]; }
        }
    } } } }
    let result = linear(&y, &arrays["params.proj.weight"], arrays.get("params.proj.bias"))?;
    Ok(Arrays::from([("result".to_string(), result)]))
}

fn main() {
    let transposed = std::env::args().nth(1).as_deref() == Some("transposed");
    let about = [("name", "attention"), ("precision", "float32"), ("offers", "shifted_window_attention")];
    serve(&about, |words, arrays| attention(words, arrays, transposed));
}
