#include "artifact.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "json.h"

namespace carrousel {

namespace {

constexpr std::int64_t format_version = 1;
constexpr const char* again = "save the model or copy the folder again";

[[noreturn]] void fail(const std::string& where, const std::string& problem) { throw Error(where + ": " + problem); }

std::string real_path(const std::string& path) {
    std::unique_ptr<char, void (*)(void*)> found(realpath(path.c_str(), nullptr), free);
    return found ? found.get() : "";
}

// A file of the folder, which must be a regular one inside it: what a link points to is not part of the model.
class Member : public Source {
public:
    Member(const std::string& folder, const char* name) : path_(folder + "/" + name) {
        struct stat status {};
        if (lstat(path_.c_str(), &status) != 0 && errno == ENOENT) fail(path_, std::string("missing; ") + again);
        const std::string target = real_path(path_), root = real_path(folder);
        if (!target.empty() && target.substr(0, target.rfind('/')) != (root == "/" ? "" : root)) {
            fail(path_, "expected a file inside the folder, got a link to " + target + "; copy the file itself");
        }
        // Opening a pipe must not wait for its other end.
        file_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (file_ < 0) unreadable();
        if (fstat(file_, &status) != 0 || !S_ISREG(status.st_mode)) {
            close(file_);
            fail(path_, std::string("expected a regular file; ") + again);
        }
        size_ = static_cast<std::size_t>(status.st_size);
    }
    ~Member() override { close(file_); }
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;

    const std::string& path() const { return path_; }
    std::size_t size() const override { return size_; }

    void read(void* to, std::size_t count) override {
        auto* bytes = static_cast<unsigned char*>(to);
        while (count) {
            ssize_t got = ::read(file_, bytes, count);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) unreadable();
            if (got == 0) fail(path_, std::string("expected more bytes, got the end: the file is truncated; ") + again);
            bytes += got;
            count -= static_cast<std::size_t>(got);
        }
    }

private:
    [[noreturn]] void unreadable() const { fail(path_, std::string("cannot be read (") + strerror(errno) + ")"); }

    std::string path_;
    int file_ = -1;
    std::size_t size_ = 0;
};

const Json& member(const Json& config, const char* key, Json::Type type, const char* words, const std::string& where) {
    const Json* found = config.find(key);
    if (!found) fail(where, "missing key " + quote(key) + ", " + words);
    if (found->type != type) fail(where, std::string(key) + ": expected " + words + ", got " + describe(*found));
    return *found;
}

}  // namespace

Config parse_config(std::string_view json, const std::string& where) {
    using Type = Json::Type;
    const Json data = parse_json(json, where);
    if (data.type != Type::object) fail(where, "expected an object, got " + describe(data));
    const Json* version = data.find("format_version");
    if (version && version->type == Type::integer && version->integer > format_version) {
        fail(where, "expected format_version " + std::to_string(format_version) + ", got " + describe(*version) +
                        "; build with a newer version of carrousel");
    }
    static const std::vector<std::string> known = {
        "format_version", "carrousel_version", "model_type", "architectures", "task",
        "architecture",   "settings",          "statistics", "checksums",
    };
    for (const std::string& key : data.keys) {
        if (std::find(known.begin(), known.end(), key) == known.end()) {
            fail(where, "unknown key " + quote(key) + "; " + nearest(key, known));
        }
    }
    const Json& number = member(data, "format_version", Type::integer, "an integer of at least 1", where);
    if (number.integer < 1) fail(where, "format_version: expected an integer of at least 1, got " + describe(number));
    member(data, "carrousel_version", Type::string, "a string", where);
    const Json& type = member(data, "model_type", Type::string, "'carrousel'", where);
    if (type.text != "carrousel") fail(where, "model_type: expected 'carrousel', got " + describe(type));
    const Json& classes = member(data, "architectures", Type::array, "a list of 1: a string", where);
    if (classes.items.size() != 1 || classes.items[0].type != Type::string) {
        fail(where, "architectures: expected a list of 1: a string, got " + describe(classes));
    }
    Config config;
    config.task = member(data, "task", Type::string, "a string", where).text;
    member(data, "settings", Type::object, "an object", where);
    member(data, "statistics", Type::object, "an object", where);
    const Json& checksums = member(data, "checksums", Type::object, "an object", where);
    for (std::size_t k = 0; k < checksums.keys.size(); ++k) {
        const Json& checksum = checksums.items[k];
        if (checksum.type != Type::string) {
            fail(where, "checksums: " + quote(checksums.keys[k]) + ": expected a string, got " + describe(checksum));
        }
        if (checksums.keys[k] == "model.safetensors") config.weights_checksum = checksum.text;
    }
    const Json* architecture = data.find("architecture");
    if (!architecture) fail(where, "missing key 'architecture', an object");
    config.architecture = parse_architecture(*architecture, where + ": architecture");
    return config;
}

Weights read_weights(Source& source, const Architecture& architecture, const std::string& where) {
    Weights weights =
        read_safetensors(source, where, [&](const Tensors& shapes) { check_shapes(architecture, shapes, where); });
    check_tensors(architecture, weights.tensors, where);
    return weights;
}

Artifact load_artifact(const std::string& folder) {
    struct stat status {};
    if (stat(folder.c_str(), &status) != 0) {
        if (errno != ENOENT && errno != ENOTDIR) fail(folder, std::string("cannot be read (") + strerror(errno) + ")");
        fail(folder, "expected the folder of a saved model, got nothing; check the path");
    }
    if (!S_ISDIR(status.st_mode)) fail(folder, "expected the folder of a saved model, got a file; check the path");
    Config config;
    {
        Member file(folder, "config.json");
        if (file.size() > json_size_limit) {
            fail(file.path(), "expected at most " + std::to_string(json_size_limit) + " bytes, got " +
                                  std::to_string(file.size()) + "; " + again);
        }
        std::string text(file.size(), '\0');
        file.read(text.data(), text.size());
        config = parse_config(text, file.path());
    }
    Member file(folder, "model.safetensors");
    Artifact artifact{std::move(config.task), std::move(config.architecture), {}};
    artifact.weights = read_weights(file, artifact.architecture, file.path());
    if (artifact.weights.checksum != config.weights_checksum) {
        fail(file.path(),
             std::string("expected the contents that were saved, got others (checksum differs); ") + again);
    }
    return artifact;
}

}  // namespace carrousel
