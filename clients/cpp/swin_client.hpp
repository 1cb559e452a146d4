// Answers `swin-oracle check -- ./mine` from C++17 with the standard library alone.  docs/protocol.md is the protocol.
//
//     int main() { return swin::serve({{"precision", "float32"}, {"offers", "mlp"}}, answer); }
//
// `answer` takes a request and returns the reply's arrays.  It throws swin::Declined for what is out of scope, and any
// other exception for an error.  Arrays hold doubles, exact whatever type was sent.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>
namespace swin {
struct Array { std::vector<size_t> shape; std::vector<double> data; };
using Words = std::map<std::string, std::string>;
using Arrays = std::map<std::string, Array>;
struct Request { Words words; Arrays arrays; };
struct Declined : std::runtime_error { using std::runtime_error::runtime_error; };
struct Reader {  // of the header, which the suite writes in one canonical way
    const char* at;
    void skip(const char* text) {
        if (std::strncmp(at, text, std::strlen(text))) throw std::runtime_error("the header is not canonical");
        at += std::strlen(text);
    }
    std::string text() {  // \u is for what no name and no number has
        std::string found;
        for (skip("\""); *at != '"'; ++at) found += *at == '\\' ? *++at : *at;
        return ++at, found;
    }
    std::vector<size_t> numbers() {
        std::vector<size_t> found;
        char* end;
        for (skip("["); *at != ']'; at = *end == ',' ? end + 1 : end) found.push_back(std::strtoull(at, &end, 10));
        return ++at, found;
    }
};
inline Request parse(const std::vector<char>& image) {
    Request request;
    uint64_t length = *reinterpret_cast<const uint64_t*>(image.data());
    std::string header(image.data() + 8, length);
    Reader reader{header.c_str()};
    for (reader.skip("{\"__metadata__\":{"); *reader.at != '}'; reader.at += *reader.at == ',') {
        std::string name = reader.text();
        request.words[name] = (reader.skip(":"), reader.text());
    }
    for (reader.skip("}"); *reader.at == ','; reader.skip("}")) {
        Array& array = (reader.skip(","), request.arrays[reader.text()]);
        reader.skip(":{\"data_offsets\":");
        std::vector<size_t> offsets = reader.numbers();
        const char *bytes = image.data() + 8 + length + offsets[0], *end = image.data() + 8 + length + offsets[1];
        reader.skip(",\"dtype\":");
        bool wide = reader.text() == "F64";
        array.shape = (reader.skip(",\"shape\":"), reader.numbers());
        for (; bytes < end; bytes += wide ? 8 : 4) {
            double number; float narrow;
            wide ? std::memcpy(&number, bytes, 8) : std::memcpy(&narrow, bytes, 4);
            array.data.push_back(wide ? number : double(narrow));
        }
    }
    return request;
}
inline void reply(const Words& words, const Arrays& arrays) {
    auto quote = [](std::string text) {
        for (char& c : text) if (c < 32 || c == '"' || c == '\\') c = ' ';
        return '"' + text + '"';
    };
    std::string header = "{\"__metadata__\":{", body;
    for (auto& [name, word] : words) header += (header.back() == '{' ? "" : ",") + quote(name) + ":" + quote(word);
    header += "}";
    for (auto& [name, array] : arrays) {
        header += "," + quote(name) + ":{\"data_offsets\":[" + std::to_string(body.size()) + ",";
        body.append(reinterpret_cast<const char*>(array.data.data()), 8 * array.data.size());
        header += std::to_string(body.size()) + "],\"dtype\":\"F64\",\"shape\":[";
        for (size_t side : array.shape) header += (header.back() == '[' ? "" : ",") + std::to_string(side);
        header += "]}";
    }
    uint64_t length = (header += "}").size(), whole = 8 + length + body.size();
    for (uint64_t number : {whole, length}) std::fwrite(&number, 8, 1, stdout);
    for (const std::string& part : {header, body}) std::fwrite(part.data(), 1, part.size(), stdout);
    std::fflush(stdout);
}
inline int serve(Words about, const std::function<Arrays(Request&)>& answer) {
    about["protocol"] = "1";
    for (uint64_t length; std::fread(&length, 8, 1, stdin) == 1;) try {
        std::vector<char> image(length);
        if (std::fread(image.data(), 1, length, stdin) < length) break;
        Request request = parse(image);
        if (request.words["cmd"] == "stop") break;
        if (request.words["cmd"] == "start") reply(about, {});
        else reply({{"ok", "1"}}, answer(request));
    } catch (const Declined& reason) { reply({{"declined", reason.what()}}, {});
    } catch (const std::exception& error) { reply({{"error", error.what()}}, {}); }
    return 0;
}
}
