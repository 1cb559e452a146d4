// Shifted window attention, straight from the definition: two tokens attend to each other if they share a window.
// g++ -O2 -std=c++17 -o attention attention.cpp && swin-oracle check -- ./attention
#include <algorithm>
#include <cmath>

#include "swin_client.hpp"

using swin::Array;

static bool transposed = false;  // a planted bug: the bias of (dw, dh)

static Array linear(const Array& x, const Array& weight, const Array* bias) {
    size_t in = weight.shape[1], out = weight.shape[0], rows = x.data.size() / in;
    if (x.shape.back() != in) throw std::runtime_error("tokens have as many channels as the weight");
    Array y{x.shape, std::vector<double>(rows * out)};
    y.shape.back() = out;
    for (size_t r = 0; r < rows; ++r)
        for (size_t o = 0; o < out; ++o) {
            double sum = bias ? bias->data[o] : 0.0;
            for (size_t i = 0; i < in; ++i) sum += x.data[r * in + i] * weight.data[o * in + i];
            y.data[r * out + o] = sum;
        }
    return y;
}

static swin::Arrays answer(swin::Request& request) {
    auto array = [&](const std::string& name) { return request.arrays.count(name) ? &request.arrays.at(name) : nullptr; };
    auto pair = [&](const std::string& name, int* to) { std::sscanf(request.words.at(name).c_str(), "%d,%d", to, to + 1); };
    if (request.words.at("cmd") != "shifted_window_attention") throw std::runtime_error("unknown command");
    const Array& x = *array("x");
    int B = x.shape[0], H = x.shape[1], W = x.shape[2], C = x.shape[3], heads = std::stoi(request.words.at("num_heads"));
    int M[2], s[2], d = C / heads;
    pair("window_size", M);
    pair("shift_size", s);
    if (H % M[0] || W % M[1]) throw swin::Declined("grids of whole windows only");
    Array qkv = linear(x, *array("params.qkv.weight"), array("params.qkv.bias"));
    const Array& table = *array("params.relative_position_bias_table");
    Array y{x.shape, std::vector<double>(x.data.size())};
    auto floor_div = [](int a, int b) { return (a + b) / b; };  // a >= -b
    for (int b = 0; b < B; ++b) for (int h = 0; h < H; ++h) for (int w = 0; w < W; ++w) for (int head = 0; head < heads; ++head) {
        int row = floor_div(h - s[0], M[0]) - 1, column = floor_div(w - s[1], M[1]) - 1;
        std::vector<double> logits, values;
        for (int kh = std::max(0, row * M[0] + s[0]); kh < std::min(H, (row + 1) * M[0] + s[0]); ++kh)
            for (int kw = std::max(0, column * M[1] + s[1]); kw < std::min(W, (column + 1) * M[1] + s[1]); ++kw) {
                int dh = h - kh, dw = w - kw;
                size_t bias = transposed ? (dw + M[1] - 1) * (2 * M[0] - 1) + dh + M[0] - 1
                                         : (dh + M[0] - 1) * (2 * M[1] - 1) + dw + M[1] - 1;
                const double* q = &qkv.data[((size_t(b) * H + h) * W + w) * 3 * C + head * d];
                const double* k = &qkv.data[((size_t(b) * H + kh) * W + kw) * 3 * C + C + head * d];
                double dot = 0.0;
                for (int i = 0; i < d; ++i) dot += q[i] * k[i];
                logits.push_back(dot / std::sqrt(double(d)) + table.data[bias * heads + head]);
                values.insert(values.end(), k + C, k + C + d);
            }
        double most = *std::max_element(logits.begin(), logits.end()), sum = 0.0;
        for (double& logit : logits) sum += logit = std::exp(logit - most);
        double* out = &y.data[((size_t(b) * H + h) * W + w) * C + head * d];
        for (size_t n = 0; n < logits.size(); ++n) for (int i = 0; i < d; ++i) out[i] += logits[n] / sum * values[n * d + i];
    }
    return {{"result", linear(y, *array("params.proj.weight"), array("params.proj.bias"))}};
}

int main(int count, char** words) {
    transposed = count > 1 && std::string(words[1]) == "transposed";
    return swin::serve({{"name", "attention"}, {"precision", "float32"}, {"offers", "shifted_window_attention"}}, answer);
}
