// Shifted window attention, straight from the definition: two tokens attend to each other if they share a window.
// javac *.java && swin-oracle check -- java -cp . Attention
import java.util.*;

final class Attention {
    static boolean transposed; // a planted bug: the bias of (dw, dh)

    static SwinClient.Array linear(SwinClient.Array x, SwinClient.Array weight, SwinClient.Array bias) {
        int out = weight.shape[0], inputs = weight.shape[1], rows = x.data.length / inputs;
        if (x.shape[x.shape.length - 1] != inputs) throw new IllegalArgumentException("tokens have as many channels as the weight");
        int[] shape = x.shape.clone();
        shape[shape.length - 1] = out;
        double[] data = new double[rows * out];
        for (int r = 0; r < rows; r++) for (int o = 0; o < out; o++) {
            double sum = bias == null ? 0 : bias.data[o];
            for (int i = 0; i < inputs; i++) sum += x.data[r * inputs + i] * weight.data[o * inputs + i];
            data[r * out + o] = sum;
        }
        return new SwinClient.Array(shape, data);
    }

    static Map<String, SwinClient.Array> answer(Map<String, String> words, Map<String, SwinClient.Array> arrays) {
        if (!words.get("cmd").equals("shifted_window_attention")) throw new IllegalArgumentException("unknown command");
        int[] window = pair(words.get("window_size")), shift = pair(words.get("shift_size"));
        SwinClient.Array x = arrays.get("x"), table = arrays.get("params.relative_position_bias_table");
        int B = x.shape[0], H = x.shape[1], W = x.shape[2], C = x.shape[3], heads = Integer.parseInt(words.get("num_heads"));
        int Mh = window[0], Mw = window[1], d = C / heads;
        if (H % Mh != 0 || W % Mw != 0) throw new SwinClient.Declined("grids of whole windows only");
        double[] qkv = linear(x, arrays.get("params.qkv.weight"), arrays.get("params.qkv.bias")).data;
        double[] y = new double[x.data.length];
        for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) for (int w = 0; w < W; w++) for (int head = 0; head < heads; head++) {
            int top = Math.floorDiv(h - shift[0], Mh) * Mh + shift[0], left = Math.floorDiv(w - shift[1], Mw) * Mw + shift[1];
            int q = ((b * H + h) * W + w) * 3 * C + head * d, out = ((b * H + h) * W + w) * C + head * d, n = 0;
            double[] weights = new double[Mh * Mw];
            int[] keys = new int[Mh * Mw];
            double most = Double.NEGATIVE_INFINITY, sum = 0;
            for (int kh = Math.max(0, top); kh < Math.min(H, top + Mh); kh++)
                for (int kw = Math.max(0, left); kw < Math.min(W, left + Mw); kw++, n++) {
                    int dh = h - kh + Mh - 1, dw = w - kw + Mw - 1, row = transposed ? dw * (2 * Mh - 1) + dh : dh * (2 * Mw - 1) + dw;
                    keys[n] = ((b * H + kh) * W + kw) * 3 * C + C + head * d;
                    double dot = 0;
                    for (int i = 0; i < d; i++) dot += qkv[q + i] * qkv[keys[n] + i];
                    weights[n] = dot / Math.sqrt(d) + table.data[row * heads + head];
                    most = Math.max(most, weights[n]);
                }
            for (int k = 0; k < n; k++) sum += weights[k] = Math.exp(weights[k] - most);
            for (int k = 0; k < n; k++) for (int i = 0; i < d; i++) y[out + i] += weights[k] / sum * qkv[keys[k] + C + i];
        }
        return Map.of("result", linear(new SwinClient.Array(x.shape, y), arrays.get("params.proj.weight"), arrays.get("params.proj.bias")));
    }

    static int[] pair(String word) { return Arrays.stream(word.split(",")).mapToInt(Integer::parseInt).toArray(); }

    public static void main(String[] words) throws Exception {
        transposed = words.length > 0 && words[0].equals("transposed");
        Map<String, String> about = Map.of("protocol", "1", "name", "attention", "language", "java", "precision", "float32", "offers", "shifted_window_attention");
        SwinClient.serve(about, Attention::answer);
    }
}
