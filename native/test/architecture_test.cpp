#include "architecture.h"

#include <limits>

#include "check.h"
#include "random.h"

using namespace carrousel;

namespace {

std::string refusal(const std::string& text) {
    return message_of([&] { expected_tensors(parse_architecture(text, "a")); });
}

const std::string linear = R"({"kind": "linear", "name": "head", "input_size": 2, "output_size": 3})";

std::string lstm(const std::string& more) {
    return R"([{"kind": "lstm", "name": "l", "input_size": 2, "hidden_size": 3)" + more + "}]";
}

}  // namespace

TEST(a_list_of_layers_is_one_stack_with_python_s_defaults) {
    Architecture found = parse_architecture(lstm(""), "a");
    CHECK_EQUAL(found.stacks.size(), 1U);
    CHECK_EQUAL(found.stacks[0].first, "main");
    const Layer& layer = found.layers[0];
    CHECK(layer.kind == Kind::lstm && layer.num_layers == 1 && layer.proj_size == 0 && layer.bias);
    CHECK(!layer.bidirectional && !layer.reverse && !layer.peephole && !layer.coupled && !layer.layer_norm);
    CHECK(!layer.trainable_state && layer.zoneout_h == 0 && layer.zoneout_c == 0);
}

TEST(keys_that_are_unknown_missing_or_wrong_are_refused) {
    CHECK_EQUAL(refusal("{\"layers\": [], \"stack\": {}}"), "a: unknown key 'stack'; did you mean 'stacks'?");
    CHECK_EQUAL(refusal("{}"), "a: missing key 'layers', a list, each item an object");
    CHECK_EQUAL(refusal("{\"layers\": 1}"), "a: layers: expected a list, each item an object, got 1");
    CHECK_EQUAL(refusal("3"), "a: expected an object, got 3");
    CHECK_EQUAL(refusal("[3]"), "a: layers[0]: expected an object with a string 'kind', got 3");
    CHECK_EQUAL(refusal("[{\"kind\": 1}]"), "a: layers[0]: expected an object with a string 'kind', got an object");
    CHECK_EQUAL(refusal("[{\"kind\": \"lstn\"}]"), "a: layers[0]: kind: unknown kind 'lstn'; did you mean 'lstm'?");
    CHECK_EQUAL(refusal("[{\"kind\": \"scale\"}]"), "a: layers[0]: missing key 'name', a string");
    CHECK_EQUAL(refusal("[{\"kind\": \"scale\", \"name\": \"s\"}]"),
                "a: layers[0]: missing key 'size', an integer of at least 1");
    CHECK_EQUAL(refusal(lstm(", \"hidden\": 3")), "a: layers[0]: unknown key 'hidden'; did you mean 'hidden_size'?");
    CHECK_EQUAL(refusal(lstm(", \"num_layers\": 0")),
                "a: layers[0]: num_layers: expected an integer of at least 1, got 0");
    CHECK_EQUAL(refusal(lstm(", \"num_layers\": 2.0")),
                "a: layers[0]: num_layers: expected an integer of at least 1, got 2");
    CHECK_EQUAL(refusal(lstm(", \"num_layers\": true")),
                "a: layers[0]: num_layers: expected an integer of at least 1, got true");
    CHECK_EQUAL(refusal(lstm(", \"proj_size\": -1")),
                "a: layers[0]: proj_size: expected an integer of at least 0, got -1");
    CHECK_EQUAL(refusal(lstm(", \"bias\": 1")), "a: layers[0]: bias: expected true or false, got 1");
    CHECK_EQUAL(refusal(lstm(", \"zoneout\": [0.1]")),
                "a: layers[0]: zoneout: expected a list of 2 numbers, got a list of 1");
    CHECK_EQUAL(refusal(lstm(", \"zoneout\": [0, 1.5]")),
                "a: layers[0]: zoneout[1]: expected a number of at least 0 and of at most 1, got 1.5");
}

TEST(rules_across_keys_hold) {
    CHECK_EQUAL(refusal(lstm(", \"proj_size\": 3")),
                "a: layers[0]: layer 'l': proj_size: expected less than hidden_size=3, got 3; 0 means no projection");
    CHECK_EQUAL(
        refusal(lstm(", \"bidirectional\": true, \"reverse\": true")),
        "a: layers[0]: layer 'l': reverse: expected false in a bidirectional layer, got true; it runs both ways");
    CHECK_EQUAL(refusal("[{\"kind\": \"scale\", \"name\": \"s.t\", \"size\": 1}]"),
                "a: layers[0]: layer 's.t': expected a name that is not empty and has no dot");
    CHECK_EQUAL(refusal("[" + linear + "," + linear + "]"),
                "a: layers: expected a name of its own for each, got 'head' twice");
}

TEST(stacks_that_do_not_fit_are_refused) {
    CHECK_EQUAL(refusal("[]"), "a: stack 'main': expected at least one layer, got none");
    CHECK_EQUAL(refusal("{\"layers\": [" + linear + "], \"stacks\": {\"s\": [\"heat\"]}}"),
                "a: stack 's': unknown layer 'heat'; did you mean 'head'?");
    CHECK_EQUAL(refusal("{\"layers\": [" + linear + "], \"stacks\": {\"s\": [\"head\", \"head\"]}}"),
                "a: stack 's': 'head' takes 2 values, but 'head' before it gives 3");
    CHECK_EQUAL(refusal("{\"layers\": [" + linear + "], \"stacks\": {\"s\": 1}}"),
                "a: stacks.s: expected a list, each item a string, got 1");
    CHECK_EQUAL(refusal("{\"layers\": [" + linear + "], \"stacks\": {\"s\": [1]}}"),
                "a: stacks.s[0]: expected a string, got 1");
    CHECK_EQUAL(
        refusal("[" + linear + R"(,{"kind": "embedding", "name": "e", "num_embeddings": 3, "embedding_dim": 3}])"),
        "a: stack 'main': 'e' takes ids and can only stand first, but 'head' stands before it");
}

TEST(sizes_that_overflow_are_refused_before_they_are_used) {
    CHECK(refusal(R"([{"kind": "linear", "name": "h", "input_size": 999999999999, "output_size": 999999999999}])")
              .starts_with("h.weight: expected a size that the memory can hold, got "));
    CHECK(refusal(R"([{"kind": "lstm", "name": "l", "input_size": 1, "hidden_size": 999999999999999999}])")
              .starts_with("l"));
    CHECK_EQUAL(refusal(lstm(", \"num_layers\": 1000000000")),
                "layer 'l': num_layers: expected an integer of at most 50000, got 1000000000");
    CHECK_EQUAL(refusal(lstm(", \"num_layers\": 50000")),
                "layers: expected a network of at most 100000 tensors, got more");
    CHECK_EQUAL(refusal(R"([{"kind": "scale", "name": "s", "size": 99999999999999999999}])"),
                "a: layers[0]: size: expected an integer of at least 1, got 1e+20");
}

TEST(tensors_that_do_not_fit_are_refused) {
    Random random(1);
    Network network = fill(parse_architecture("[" + linear + "]", "a"), random);
    auto refused = [&](const Tensors& tensors) {
        return message_of([&] { check_tensors(network.architecture, tensors, "w"); });
    };
    CHECK_EQUAL(refused(network.tensors), "no error");
    Tensors tensors = network.tensors;
    tensors.erase("head.bias");
    CHECK_EQUAL(refused(tensors), "w: missing tensor 'head.bias', expected (3,)");
    tensors = network.tensors;
    tensors["head.wait"] = tensors["head.bias"];
    CHECK_EQUAL(refused(tensors), "w: unknown tensor 'head.wait'; did you mean 'head.weight'?");
    tensors = network.tensors;
    tensors["head.weight"].shape = {2, 3};
    CHECK_EQUAL(refused(tensors),
                "w: head.weight: expected (3, 2), got (2, 3); layer 'head' has input_size=2, output_size=3");
    network.memory[1][0] = std::numeric_limits<float>::quiet_NaN();
    network.memory[1][4] = -std::numeric_limits<float>::infinity();
    CHECK_EQUAL(refused(network.tensors), "w: head.weight: expected finite values, got 2 of 6 NaN or infinite");
}

TEST(random_architectures_survive_being_written_and_read) {
    Random random(1);
    for (int k = 0; k < 200; ++k) {
        Network network = random_network(random);
        std::string text = architecture_text(network.architecture);
        Architecture again = parse_architecture(text, "architecture");
        CHECK_EQUAL(architecture_text(again), text);
        CHECK(expected_tensors(again) == expected_tensors(network.architecture));
    }
}
