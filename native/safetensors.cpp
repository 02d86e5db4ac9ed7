#include "safetensors.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "json.h"
#include "sha256.h"

namespace carrousel {

namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian, and read as it stands");

constexpr std::size_t header_limit = json_size_limit;
constexpr const char* again = "save the model or copy the folder again";

struct Entry {
    const std::string* name;
    std::vector<std::size_t> shape;
    std::size_t begin, end;  // bytes behind the header
};

class Header {
public:
    Header(const std::string& where, std::size_t data_bytes) : where_(where), data_bytes_(data_bytes) {}

    std::vector<Entry> entries(const Json& header) const {
        if (header.type != Json::Type::object) damaged("its header is no object");
        std::vector<Entry> found;
        for (std::size_t k = 0; k < header.keys.size(); ++k) {
            if (header.keys[k] == "__metadata__") {
                metadata(header.items[k]);
            } else {
                found.push_back(entry(header.keys[k], header.items[k]));
            }
        }
        std::sort(found.begin(), found.end(), [](const Entry& a, const Entry& b) {
            return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
        });
        std::size_t next = 0;
        for (const Entry& one : found) {
            if (one.begin != next)
                damaged(*one.name + ": expected to start at byte " + std::to_string(next) + " behind the header, got " +
                        std::to_string(one.begin));
            next = one.end;
        }
        if (next != data_bytes_) {
            damaged("expected " + std::to_string(next) + " bytes behind the header, got " +
                    std::to_string(data_bytes_));
        }
        return found;
    }

private:
    [[noreturn]] void damaged(const std::string& problem) const {
        throw Error(where_ + ": expected a safetensors file, got a damaged one (" + problem + "); " + again);
    }

    void metadata(const Json& value) const {
        bool texts = std::all_of(value.items.begin(), value.items.end(),
                                 [](const Json& item) { return item.type == Json::Type::string; });
        if (value.type != Json::Type::object || !texts) damaged("__metadata__: expected an object of strings");
    }

    std::size_t whole(const std::string& name, const Json& value) const {
        if (value.type != Json::Type::integer || value.integer < 0) {
            damaged(quote(name) + ": expected integers of at least 0, got " + describe(value));
        }
        return static_cast<std::size_t>(value.integer);
    }

    Entry entry(const std::string& name, const Json& value) const {
        const Json *dtype = value.find("dtype"), *shape = value.find("shape"), *offsets = value.find("data_offsets");
        if (value.keys.size() != 3 || !dtype || dtype->type != Json::Type::string || !shape ||
            shape->type != Json::Type::array || !offsets || offsets->type != Json::Type::array ||
            offsets->items.size() != 2) {
            damaged(quote(name) + ": expected dtype, shape and two data_offsets");
        }
        if (dtype->text != "F32")
            throw Error(where_ + ": " + quote(name) + ": expected F32, got " + quote(dtype->text));
        Entry found{&name, {}, whole(name, offsets->items[0]), whole(name, offsets->items[1])};
        std::size_t bytes = sizeof(float);
        for (const Json& extent : shape->items) {
            found.shape.push_back(whole(name, extent));
            if (__builtin_mul_overflow(bytes, found.shape.back(), &bytes))
                damaged(quote(name) + ": its size overflows");
        }
        if (found.begin > found.end || found.end > data_bytes_ || found.end - found.begin != bytes) {
            damaged(quote(name) + ": expected " + std::to_string(bytes) + " of " + std::to_string(data_bytes_) +
                    " bytes, got data_offsets from " + std::to_string(found.begin) + " to " +
                    std::to_string(found.end));
        }
        return found;
    }

    const std::string& where_;
    std::size_t data_bytes_;
};

}  // namespace

Weights read_safetensors(Source& source, const std::string& where, const std::function<void(const Tensors&)>& check) {
    std::size_t size = source.size();
    unsigned char length[8] = {};
    if (size >= sizeof length) source.read(length, sizeof length);
    std::uint64_t wanted = 0;
    for (int k = 7; k >= 0; --k) wanted = wanted << 8 | length[k];
    if (size < sizeof length || std::min<std::uint64_t>(wanted, header_limit) > size - sizeof length) {
        throw Error(where + ": expected a header of " + std::to_string(wanted) + " bytes behind the first 8, got " +
                    std::to_string(size) + " bytes in all: the file is truncated; " + again);
    }
    if (wanted > header_limit) {
        throw Error(where + ": expected a header of at most " + std::to_string(header_limit) + " bytes, got " +
                    std::to_string(wanted) + "; " + again);
    }
    std::string text(static_cast<std::size_t>(wanted), '\0');
    source.read(text.data(), text.size());
    const Json header = parse_json(text, where);
    const std::size_t data_bytes = size - sizeof length - text.size();
    const std::vector<Entry> entries = Header(where, data_bytes).entries(header);

    Weights weights;
    for (const Entry& entry : entries) weights.tensors[*entry.name] = {nullptr, entry.shape};
    check(weights.tensors);

    weights.buffer = Buffer(data_bytes);
    source.read(weights.buffer.data(), data_bytes);
    // Every size is a multiple of 4 bytes, so every tensor is aligned as the first one is.
    for (const Entry& entry : entries) {
        weights.tensors[*entry.name].data = reinterpret_cast<const float*>(weights.buffer.data() + entry.begin);
    }
    Sha256 checksum;
    checksum.update(length, sizeof length);
    checksum.update(text.data(), text.size());
    checksum.update(weights.buffer.data(), data_bytes);
    weights.checksum = checksum.hex();
    return weights;
}

}  // namespace carrousel
