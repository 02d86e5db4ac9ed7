#include "artifact.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <limits>

#include "check.h"
#include "random.h"
#include "sha256.h"

using namespace carrousel;

namespace {

constexpr const char* again = "; save the model or copy the folder again";

Network small() {
    Random random(1);
    return fill(
        parse_architecture(
            R"([{"kind": "linear", "name": "head", "input_size": 2, "output_size": 3, "activation": "tanh"}])", "a"),
        random);
}

std::string sha256(const std::string& text) {
    Sha256 checksum;
    checksum.update(text.data(), text.size());
    return checksum.hex();
}

std::string load_error(const Folder& folder) {
    return message_of([&] { load_artifact(folder.path()); });
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    return text.replace(text.find(from), from.size(), to);
}

class Bytes : public Source {
public:
    explicit Bytes(std::string bytes) : bytes_(std::move(bytes)) {}
    std::size_t size() const override { return bytes_.size(); }
    void read(void* to, std::size_t count) override {
        if (count > bytes_.size() - at_) throw Error("read behind the end");
        std::memcpy(to, bytes_.data() + at_, count);
        at_ += count;
    }

private:
    std::string bytes_;
    std::size_t at_ = 0;
};

// What reading a safetensors file with this header and so many bytes behind it says.
std::string header_error(const std::string& header, std::size_t data) {
    std::string bytes;
    for (int k = 0; k < 8; ++k) bytes.push_back(static_cast<char>(header.size() >> (8 * k) & 255U));
    Bytes source(bytes + header + std::string(data, '\0'));
    return message_of([&] { read_safetensors(source, "f", [](const Tensors&) {}); });
}

std::string damaged(const std::string& problem) {
    return "f: expected a safetensors file, got a damaged one (" + problem + ")" + again;
}

}  // namespace

TEST(sha256_gives_the_digests_of_the_standard) {
    CHECK_EQUAL(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK_EQUAL(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK_EQUAL(sha256(std::string(1'000'000, 'a')),
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(sha256_does_not_depend_on_the_pieces) {
    std::string text;
    for (int k = 0; k < 300; ++k) text.push_back(static_cast<char>(k));
    for (std::size_t size = 0; size < text.size(); ++size) {
        for (std::size_t piece : {std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{65}}) {
            Sha256 checksum;
            for (std::size_t at = 0; at < size; at += piece) {
                checksum.update(text.data() + at, std::min(piece, size - at));
            }
            CHECK(checksum.hex() == sha256(text.substr(0, size)));
        }
    }
}

TEST(a_saved_folder_is_read_back_to_the_bit) {
    Random random(2);
    for (int k = 0; k < 10; ++k) {
        Network network = random_network(random);
        Folder folder;
        save(network, folder);
        Artifact artifact = load_artifact(folder.path());
        CHECK_EQUAL(artifact.task, "forecast");
        CHECK_EQUAL(architecture_text(artifact.architecture), architecture_text(network.architecture));
        CHECK_EQUAL(artifact.weights.tensors.size(), network.tensors.size());
        for (const auto& [name, tensor] : network.tensors) {
            const Tensor& found = artifact.weights.tensors[name];
            std::size_t size = sizeof(float);
            for (std::size_t extent : tensor.shape) size *= extent;
            CHECK(found.shape == tensor.shape && !std::memcmp(found.data, tensor.data, size));
        }
    }
}

TEST(a_folder_that_is_none_is_refused) {
    Folder folder;
    CHECK_EQUAL(message_of([&] { load_artifact(folder / "none"); }),
                folder / "none" + ": expected the folder of a saved model, got nothing; check the path");
    write_file(folder / "file", "");
    CHECK_EQUAL(message_of([&] { load_artifact(folder / "file"); }),
                folder / "file" + ": expected the folder of a saved model, got a file; check the path");
    CHECK_EQUAL(load_error(folder), folder / "config.json" + ": missing" + again);
    save(small(), folder);
    unlink((folder / "model.safetensors").c_str());
    CHECK_EQUAL(load_error(folder), folder / "model.safetensors" + ": missing" + again);
}

TEST(only_regular_files_inside_the_folder_are_read) {
    Folder folder, outside;
    save(small(), folder);
    std::string file = folder / "model.safetensors", target = outside / "model.safetensors";
    save(small(), outside);
    unlink(file.c_str());
    CHECK(symlink(target.c_str(), file.c_str()) == 0);
    CHECK_EQUAL(load_error(folder),
                file + ": expected a file inside the folder, got a link to " + target + "; copy the file itself");
    unlink(target.c_str());
    CHECK(load_error(folder).starts_with(file + ": "));
    unlink(file.c_str());
    CHECK(mkfifo(file.c_str(), 0600) == 0);
    CHECK_EQUAL(load_error(folder), file + ": expected a regular file" + again);
    unlink(file.c_str());
    CHECK(mkdir(file.c_str(), 0700) == 0);
    CHECK_EQUAL(load_error(folder), file + ": expected a regular file" + again);
}

TEST(config_keys_are_validated) {
    const Network network = small();
    const std::string good = config_text(network, "0");
    auto refused = [&](const std::string& from, const std::string& to) {
        return message_of([&] { parse_config(replaced(good, from, to), "c"); });
    };
    CHECK_EQUAL(refused("0", "0"), "no error");
    CHECK_EQUAL(refused("\"format_version\": 1", "\"format_version\": 2"),
                "c: expected format_version 1, got 2; build with a newer version of carrousel");
    CHECK_EQUAL(refused("\"format_version\": 1", "\"format_version\": 0"),
                "c: format_version: expected an integer of at least 1, got 0");
    CHECK_EQUAL(refused("\"format_version\": 1", "\"format_version\": \"1\""),
                "c: format_version: expected an integer of at least 1, got '1'");
    CHECK_EQUAL(refused("\"format_version\": 1, ", ""), "c: missing key 'format_version', an integer of at least 1");
    CHECK_EQUAL(refused("\"task\"", "\"tusk\""), "c: unknown key 'tusk'; did you mean 'task'?");
    CHECK_EQUAL(refused("\"model_type\": \"carrousel\"", "\"model_type\": \"bert\""),
                "c: model_type: expected 'carrousel', got 'bert'");
    CHECK_EQUAL(refused("[\"A\"]", "[]"), "c: architectures: expected a list of 1: a string, got a list of 0");
    CHECK_EQUAL(refused("\"settings\": {}", "\"settings\": []"), "c: settings: expected an object, got a list of 0");
    CHECK_EQUAL(refused("\"0\"}", "0}"), "c: checksums: 'model.safetensors': expected a string, got 0");
    CHECK_EQUAL(refused("\"input_size\": 2", "\"input_size\": -2"),
                "c: architecture: layers[0]: input_size: expected an integer of at least 1, got -2");
    CHECK_EQUAL(message_of([&] { parse_config("[]", "c"); }), "c: expected an object, got a list of 0");
}

TEST(weights_that_were_changed_are_refused) {
    Folder folder;
    Network network = small();
    save(network, folder);
    std::string file = folder / "model.safetensors", bytes = safetensors_bytes(network);
    std::string changed = bytes;
    changed.back() = static_cast<char>(changed.back() ^ 1);
    write_file(file, changed);
    CHECK_EQUAL(load_error(folder),
                file + ": expected the contents that were saved, got others (checksum differs)" + again);
    write_file(file, bytes.substr(0, bytes.size() - 1));
    CHECK(load_error(folder).starts_with(file + ": expected a safetensors file, got a damaged one ("));
    write_file(file, bytes + "x");
    CHECK(load_error(folder).starts_with(file + ": expected a safetensors file, got a damaged one ("));
    network.memory[0][0] = std::numeric_limits<float>::infinity();
    save(network, folder);
    CHECK_EQUAL(load_error(folder), file + ": head.bias: expected finite values, got 1 of 3 NaN or infinite");
}

TEST(safetensors_headers_that_lie_are_refused) {
    const std::string a = R"("a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]})";
    CHECK_EQUAL(header_error("{" + a + "}", 8), "no error");
    CHECK_EQUAL(header_error("{" + a + "}  ", 8), "no error");
    CHECK_EQUAL(header_error("{\"__metadata__\": {\"k\": \"v\"}, " + a + "}", 8), "no error");
    CHECK_EQUAL(header_error("{\"__metadata__\": {\"k\": 1}, " + a + "}", 8),
                damaged("__metadata__: expected an object of strings"));
    CHECK_EQUAL(header_error("[]", 0), damaged("its header is no object"));
    CHECK_EQUAL(header_error("{" + a + "}", 7), damaged("'a': expected 8 of 7 bytes, got data_offsets from 0 to 8"));
    CHECK_EQUAL(header_error("{" + a + "}", 9), damaged("expected 8 bytes behind the header, got 9"));
    CHECK_EQUAL(header_error("{" + a + "," + a + "}", 8),
                "f: expected each key once, got 'a' twice; save the model or copy the folder again");
    CHECK_EQUAL(header_error("{" + a + R"(, "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}})", 12),
                damaged("b: expected to start at byte 8 behind the header, got 4"));
    CHECK_EQUAL(header_error("{" + a + R"(, "b": {"dtype": "F32", "shape": [1], "data_offsets": [12, 16]}})", 16),
                damaged("b: expected to start at byte 8 behind the header, got 12"));
    CHECK_EQUAL(header_error(R"({"a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}})", 8),
                "f: 'a': expected F32, got 'F16'");
    CHECK_EQUAL(header_error(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}})", 8),
                damaged("'a': expected 8 of 8 bytes, got data_offsets from 8 to 0"));
    CHECK_EQUAL(header_error(R"({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}})", 8),
                damaged("'a': expected integers of at least 0, got -1"));
    CHECK_EQUAL(
        header_error(R"({"a": {"dtype": "F32", "shape": [99999999999, 99999999999], "data_offsets": [0, 8]}})", 8),
        damaged("'a': its size overflows"));
    CHECK_EQUAL(header_error(R"({"a": {"dtype": "F32", "shape": [4611686018427387904], "data_offsets": [0, 8]}})", 8),
                damaged("'a': expected integers of at least 0, got 4.61169e+18"));
    for (const char* entry : {"1", "{}", R"({"dtype": "F32", "shape": 1, "data_offsets": [0, 8]})",
                              R"({"dtype": "F32", "shape": [2], "data_offsets": [0]})",
                              R"({"dtype": "F32", "shape": [2], "data_offsets": [0, 8], "more": 1})"}) {
        CHECK_EQUAL(header_error(std::string("{\"a\": ") + entry + "}", 8),
                    damaged("'a': expected dtype, shape and two data_offsets"));
    }
}

TEST(safetensors_lengths_that_lie_are_refused) {
    auto refused = [](const std::string& bytes) {
        Bytes source(bytes);
        return message_of([&] { read_safetensors(source, "f", [](const Tensors&) {}); });
    };
    CHECK_EQUAL(refused(""),
                "f: expected a header of 0 bytes behind the first 8, got 0 bytes in all: the file is truncated" +
                    std::string(again));
    CHECK_EQUAL(refused(std::string("\x05\0\0\0\0\0\0\0{}", 10)),
                "f: expected a header of 5 bytes behind the first 8, got 10 bytes in all: the file is truncated" +
                    std::string(again));
    CHECK(refused(std::string(8, '\xff')).find("truncated") != std::string::npos);
    CHECK_EQUAL(refused(std::string(8, '\xff') + std::string(16'000'000, ' ')),
                "f: expected a header of at most 16000000 bytes, got 18446744073709551615" + std::string(again));
}
