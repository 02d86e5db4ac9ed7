#include "json.h"

#include "check.h"

using namespace carrousel;

namespace {

constexpr const char* tail = "); save the model or copy the folder again";

std::string refusal(const std::string& text) {
    return message_of([&] { parse_json(text, "f"); });
}

std::string other(const std::string& problem) { return "f: expected JSON, got something else (" + problem + tail; }

}  // namespace

TEST(json_values_are_read) {
    Json value = parse_json(" {\"a\" : [1, -2.5, true, false, null, \"x\", {}], \"b\":[] } ", "f");
    CHECK_EQUAL(value.keys.size(), 2U);
    const Json& list = *value.find("a");
    CHECK_EQUAL(list.items.size(), 7U);
    CHECK(list.items[0].type == Json::Type::integer && list.items[0].integer == 1);
    CHECK(list.items[1].type == Json::Type::number && list.items[1].number == -2.5);
    CHECK(list.items[2].boolean && !list.items[3].boolean);
    CHECK(list.items[4].type == Json::Type::null);
    CHECK_EQUAL(list.items[5].text, "x");
    CHECK(list.items[6].type == Json::Type::object);
    CHECK(value.find("c") == nullptr);
}

TEST(json_numbers_are_exact) {
    CHECK(parse_json("0.1", "f").number == 0.1);
    CHECK(parse_json("1e-400", "f").number == 0);
    CHECK(parse_json("1E2", "f").type == Json::Type::number);
    CHECK(parse_json("-0", "f").integer == 0);
    CHECK(parse_json("999999999999999999", "f").integer == 999999999999999999);
    CHECK(parse_json("9999999999999999999", "f").type == Json::Type::number);
    CHECK(parse_json("2.2250738585072014e-308", "f").number == 2.2250738585072014e-308);
}

TEST(json_strings_are_read_with_their_escapes) {
    CHECK_EQUAL(parse_json(R"("\"\\\/\b\f\n\r\t")", "f").text, "\"\\/\b\f\n\r\t");
    CHECK_EQUAL(parse_json(R"("\u0041\u00e9\u20AC\ud83d\ude00")", "f").text, "A\u00e9\u20ac\U0001F600");
    CHECK_EQUAL(parse_json("\"\u00e9\u20ac\U0001F600\"", "f").text, "\u00e9\u20ac\U0001F600");
    CHECK_EQUAL(parse_json(R"("a\u0000b")", "f").text, std::string("a\0b", 3));
}

TEST(json_that_is_none_is_refused_with_its_place) {
    CHECK_EQUAL(refusal(""), other("no value at byte 0"));
    CHECK_EQUAL(refusal("[1"), other("no , or ] at byte 2"));
    CHECK_EQUAL(refusal("[1,]"), other("no value at byte 3"));
    CHECK_EQUAL(refusal("{\"a\"}"), other("no : at byte 4"));
    CHECK_EQUAL(refusal("{\"a\":1,}"), other("no key at byte 7"));
    CHECK_EQUAL(refusal("{\"a\":1"), other("no , or } at byte 6"));
    CHECK_EQUAL(refusal("1 2"), other("something follows the value at byte 2"));
    CHECK_EQUAL(refusal("nul"), other("no value at byte 0"));
    CHECK_EQUAL(refusal("01"), other("a number with a leading zero at byte 2"));
    CHECK_EQUAL(refusal("1."), other("no value at byte 2"));
    CHECK_EQUAL(refusal("1e"), other("no value at byte 2"));
    CHECK_EQUAL(refusal("NaN"), other("a number that is not finite at byte 0"));
    CHECK_EQUAL(refusal("-Infinity"), other("a number that is not finite at byte 1"));
    CHECK_EQUAL(refusal("\"a"), other("no closing quote at byte 2"));
    CHECK_EQUAL(refusal("\"\n\""), other("a control character in a string at byte 1"));
    CHECK_EQUAL(refusal("\"\\x\""), other("an unknown escape at byte 2"));
    CHECK_EQUAL(refusal("\"\\u12\""), other("no four hexadecimal digits at byte 5"));
    CHECK_EQUAL(refusal("\"\\ud800\""), other("half a character at byte 7"));
    CHECK_EQUAL(refusal("\"\\udc00\""), other("half a character at byte 7"));
    CHECK_EQUAL(refusal("\xEF\xBB\xBF{}"), other("no value at byte 0"));
    CHECK_EQUAL(refusal(std::string("[\0]", 3)), other("no value at byte 1"));
}

TEST(json_text_that_is_not_utf8_is_refused) {
    for (const char* bytes : {"\xff", "\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                              "\xe2\x82", "\xf8\x88\x80\x80\x80"}) {
        CHECK_EQUAL(refusal(std::string("\"") + bytes + "\""), other("no UTF-8 at byte 1"));
    }
}

TEST(json_numbers_beyond_double_are_refused) {
    CHECK_EQUAL(refusal("[1e400]"), "f: expected finite numbers, got 1e400; save the model or copy the folder again");
    CHECK(refusal(std::string(400, '9')).starts_with("f: expected finite numbers, got 999"));
}

TEST(json_keys_that_stand_twice_are_refused) {
    CHECK_EQUAL(refusal("{\"a\":1,\"b\":2,\"\\u0061\":3}"),
                "f: expected each key once, got 'a' twice; save the model or copy the folder again");
}

TEST(json_depth_size_and_number_of_values_are_bounded) {
    CHECK(refusal(std::string(100, '[') + std::string(100, ']')) == "no error");
    CHECK_EQUAL(refusal(std::string(1'000'000, '[')), other("more than 128 levels at byte 129"));
    CHECK_EQUAL(refusal(std::string(16'000'001, ' ')),
                "f: expected at most 16000000 bytes, got 16000001; save the model or copy the folder again");
    std::string many = "[0";
    for (std::size_t k = 0; k < json_value_limit; ++k) many += ",0";
    CHECK(refusal(many + "]").find("more than 2000000 values") != std::string::npos);
}

TEST(json_names_from_files_are_quoted_printably) {
    CHECK_EQUAL(quote("a'\\\n\xff\u00e9"), "'a\\'\\\\\\x0a\\xff\u00e9'");
    CHECK(quote(std::string(1000, 'x')).size() < 70);
}

TEST(json_nearest_names_are_proposed) {
    CHECK_EQUAL(nearest("layer", {"stacks", "layers"}), "did you mean 'layers'?");
    CHECK_EQUAL(nearest("quite another", {"stacks", "layers"}), "known are layers, stacks");
    CHECK_EQUAL(nearest("x", {}), "known are none");
}
