#include "json.h"

#include <locale.h>
#include <stdlib.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <utility>

#include "architecture.h"

namespace carrousel {

namespace {

constexpr const char* again = "save the model or copy the folder again";

// Length of the UTF-8 character at the front of text, 0 where there is none (RFC 3629: shortest form, no surrogates).
std::size_t character(std::string_view text) {
    auto at = [&](std::size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0U; };
    auto tail = [&](std::size_t k) { return (at(k) & 0xC0U) == 0x80U; };
    unsigned first = at(0), second = at(1);
    if (text.empty()) return 0;
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
    if (first >= 0xE0 && first <= 0xEF) {
        bool shortest = first != 0xE0 || second >= 0xA0, surrogate = first == 0xED && second >= 0xA0;
        return tail(1) && tail(2) && shortest && !surrogate ? 3 : 0;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        bool shortest = first != 0xF0 || second >= 0x90, beyond = first == 0xF4 && second >= 0x90;
        return tail(1) && tail(2) && tail(3) && shortest && !beyond ? 4 : 0;
    }
    return 0;
}

void append_utf8(std::string& out, std::uint32_t code) {
    auto put = [&](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
    if (code < 0x80) {
        put(code);
    } else if (code < 0x800) {
        put(0xC0 | code >> 6);
        put(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        put(0xE0 | code >> 12);
        put(0x80 | (code >> 6 & 0x3F));
        put(0x80 | (code & 0x3F));
    } else {
        put(0xF0 | code >> 18);
        put(0x80 | (code >> 12 & 0x3F));
        put(0x80 | (code >> 6 & 0x3F));
        put(0x80 | (code & 0x3F));
    }
}

// strtod reads what the program's locale calls a decimal point; JSON has only one.
double to_double(const std::string& text) {
    static const locale_t c = newlocale(LC_ALL_MASK, "C", nullptr);
    return c ? strtod_l(text.c_str(), nullptr, c) : strtod(text.c_str(), nullptr);
}

class Parser {
public:
    Parser(std::string_view data, const std::string& where) : data_(data), where_(where) {}

    Json document() {
        if (data_.size() > json_size_limit) {
            throw Error(where_ + ": expected at most " + std::to_string(json_size_limit) + " bytes, got " +
                        std::to_string(data_.size()) + "; " + again);
        }
        Json value;
        space();
        read(value, 0);
        space();
        if (at_ != data_.size()) fail("something follows the value");
        return value;
    }

private:
    [[noreturn]] void fail(const std::string& problem) const {
        throw Error(where_ + ": expected JSON, got something else (" + problem + " at byte " + std::to_string(at_) +
                    "); " + again);
    }

    char peek() const { return at_ < data_.size() ? data_[at_] : '\0'; }
    bool digit() const { return peek() >= '0' && peek() <= '9'; }

    void space() {
        while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') ++at_;
    }

    bool accept(char wanted) {
        if (peek() != wanted) return false;
        ++at_;
        return true;
    }

    void word(std::string_view wanted) {
        if (data_.substr(at_, wanted.size()) != wanted) fail("no value");
        at_ += wanted.size();
    }

    void read(Json& value, std::size_t depth) {
        if (++values_ > json_value_limit) fail("more than " + std::to_string(json_value_limit) + " values");
        if (depth > json_depth_limit) fail("more than " + std::to_string(json_depth_limit) + " levels");
        switch (peek()) {
            case '{': return object(value, depth);
            case '[': return array(value, depth);
            case '"':
                value.type = Json::Type::string;
                value.text = string();
                return;
            case 't':
                word("true");
                value.type = Json::Type::boolean;
                value.boolean = true;
                return;
            case 'f':
                word("false");
                value.type = Json::Type::boolean;
                return;
            case 'n': return word("null");
            default: return number(value);
        }
    }

    void array(Json& value, std::size_t depth) {
        value.type = Json::Type::array;
        ++at_;
        space();
        if (accept(']')) return;
        do {
            space();
            read(value.items.emplace_back(), depth + 1);
            space();
        } while (accept(','));
        if (!accept(']')) fail("no , or ]");
    }

    void object(Json& value, std::size_t depth) {
        value.type = Json::Type::object;
        ++at_;
        space();
        if (accept('}')) return;
        do {
            space();
            if (peek() != '"') fail("no key");
            value.keys.push_back(string());
            space();
            if (!accept(':')) fail("no :");
            space();
            read(value.items.emplace_back(), depth + 1);
            space();
        } while (accept(','));
        if (!accept('}')) fail("no , or }");
        unique(value.keys);
    }

    void unique(const std::vector<std::string>& keys) const {
        std::vector<std::size_t> order(keys.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return keys[a] < keys[b]; });
        for (std::size_t k = 1; k < order.size(); ++k) {
            const std::string& key = keys[order[k]];
            if (key == keys[order[k - 1]]) {
                throw Error(where_ + ": expected each key once, got " + quote(key) + " twice; " + again);
            }
        }
    }

    std::string string() {
        std::string out;
        ++at_;
        while (!accept('"')) {
            if (at_ >= data_.size()) fail("no closing quote");
            auto byte = static_cast<unsigned char>(data_[at_]);
            if (byte < 0x20) fail("a control character in a string");
            if (byte == '\\') {
                escape(out);
                continue;
            }
            std::size_t size = character(data_.substr(at_));
            if (!size) fail("no UTF-8");
            out.append(data_.substr(at_, size));
            at_ += size;
        }
        return out;
    }

    void escape(std::string& out) {
        static constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
        ++at_;
        std::size_t found = at_ < data_.size() ? letters.find(data_[at_]) : letters.npos;
        if (found != letters.npos) {
            out.push_back(meanings[found]);
            ++at_;
            return;
        }
        if (!accept('u')) fail("an unknown escape");
        std::uint32_t code = hex();
        if (code >= 0xD800 && code < 0xDC00 && data_.substr(at_, 2) == "\\u") {
            at_ += 2;
            std::uint32_t low = hex();
            if (low < 0xDC00 || low > 0xDFFF) fail("half a character");
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        if (code >= 0xD800 && code <= 0xDFFF) fail("half a character");
        append_utf8(out, code);
    }

    std::uint32_t hex() {
        std::uint32_t code = 0;
        for (int k = 0; k < 4; ++k, ++at_) {
            char c = peek();
            std::uint32_t value = c >= '0' && c <= '9'   ? static_cast<std::uint32_t>(c - '0')
                                  : c >= 'a' && c <= 'f' ? static_cast<std::uint32_t>(c - 'a' + 10)
                                  : c >= 'A' && c <= 'F' ? static_cast<std::uint32_t>(c - 'A' + 10)
                                                         : 16U;
            if (value == 16U) fail("no four hexadecimal digits");
            code = code << 4 | value;
        }
        return code;
    }

    void digits() {
        if (!digit()) fail(peek() == 'N' || peek() == 'I' ? "a number that is not finite" : "no value");
        while (digit()) ++at_;
    }

    void number(Json& value) {
        std::size_t start = at_;
        accept('-');
        std::size_t first = at_;
        digits();
        if (data_[first] == '0' && at_ - first > 1) fail("a number with a leading zero");
        bool whole = true;
        if (accept('.')) {
            whole = false;
            digits();
        }
        if (peek() == 'e' || peek() == 'E') {
            whole = false;
            ++at_;
            if (!accept('+')) accept('-');
            digits();
        }
        std::string text(data_.substr(start, at_ - start));
        value.type = Json::Type::number;
        value.number = to_double(text);
        if (!std::isfinite(value.number)) {
            throw Error(where_ + ": expected finite numbers, got " + text.substr(0, 30) + "; " + again);
        }
        if (whole && text.size() <= 18) {  // 18 characters always fit in 64 bits
            value.type = Json::Type::integer;
            value.integer = std::strtoll(text.c_str(), nullptr, 10);
        }
    }

    std::string_view data_;
    const std::string& where_;
    std::size_t at_ = 0;
    std::size_t values_ = 0;
};

}  // namespace

const Json* Json::find(std::string_view key) const {
    auto found = std::find(keys.begin(), keys.end(), key);
    return found == keys.end() ? nullptr : &items[static_cast<std::size_t>(found - keys.begin())];
}

Json parse_json(std::string_view data, const std::string& where) { return Parser(data, where).document(); }

std::string describe(const Json& value) {
    switch (value.type) {
        case Json::Type::null: return "null";
        case Json::Type::boolean: return value.boolean ? "true" : "false";
        case Json::Type::integer: return std::to_string(value.integer);
        case Json::Type::number: {
            char text[32];
            std::snprintf(text, sizeof text, "%.6g", value.number);
            return text;
        }
        case Json::Type::string: return quote(value.text);
        case Json::Type::array: return "a list of " + std::to_string(value.items.size());
        case Json::Type::object: return "an object";
    }
    return "";
}

std::string quote(std::string_view text) {
    constexpr std::size_t limit = 60;
    std::string out = "'";
    std::size_t at = 0;
    while (at < text.size() && at < limit) {
        std::size_t size = character(text.substr(at));
        auto byte = static_cast<unsigned char>(text[at]);
        if (!size || byte < 0x20 || byte == 0x7F || byte == '\'' || byte == '\\') {
            char code[8];
            std::snprintf(code, sizeof code, byte == '\'' || byte == '\\' ? "\\%c" : "\\x%02x", byte);
            out += code;
            ++at;
        } else {
            out += text.substr(at, size);
            at += size;
        }
    }
    return out + (at < text.size() ? "...'" : "'");
}

std::string nearest(std::string_view name, std::vector<std::string> known) {
    std::sort(known.begin(), known.end());
    const std::string* best = nullptr;
    double most = 0.6;  // as difflib.get_close_matches
    for (const std::string& other : known) {
        if (name.size() > 100 || other.size() > 100) continue;
        std::vector<std::size_t> common(other.size() + 1);  // length of the longest common subsequence, a row at a time
        for (char letter : name) {
            std::size_t diagonal = 0;
            for (std::size_t j = 1; j <= other.size(); ++j) {
                std::size_t longer = letter == other[j - 1] ? diagonal + 1 : std::max(common[j], common[j - 1]);
                diagonal = std::exchange(common[j], longer);
            }
        }
        double likeness = 2.0 * static_cast<double>(common.back()) / static_cast<double>(name.size() + other.size());
        if (likeness >= most && (!best || likeness > most)) {
            best = &other;
            most = likeness;
        }
    }
    if (best) return "did you mean " + quote(*best) + "?";
    std::string all;
    for (std::size_t k = 0; k < known.size() && k < 20; ++k) {
        all += (all.empty() ? "" : ", ") + std::string(known[k].substr(0, 60));
    }
    if (known.size() > 20) all += " and " + std::to_string(known.size() - 20) + " more";
    return "known are " + (known.empty() ? "none" : all);
}

}  // namespace carrousel
