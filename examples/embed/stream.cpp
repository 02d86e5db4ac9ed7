// Steps a saved model with the numbers from standard input: stream FOLDER [STACK] < numbers
// H_in numbers (or one id) make a step; its outputs become one line.
#include <carrousel.h>

#include <cstdio>
#include <iostream>
#include <vector>

namespace embed = carrousel::embed;

namespace {

template <typename Value>
void stream(embed::Session& session, std::size_t width) {
    std::vector<Value> x(width);
    std::vector<float> y(session.widths().out);
    for (;;) {
        for (Value& value : x) std::cin >> value;
        if (!std::cin) return;
        session.step(x, y);
        for (std::size_t k = 0; k < y.size(); ++k) std::printf("%s%.9g", k ? " " : "", static_cast<double>(y[k]));
        std::printf("\n");
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 2) {
        std::fprintf(stderr, "usage: %s FOLDER [STACK] < numbers\n", arguments[0]);
        return 2;
    }
    try {
        embed::Model model(arguments[1]);
        embed::Session session(model, 1, count > 2 ? arguments[2] : nullptr);
        if (session.widths().ids) {
            stream<std::int32_t>(session, 1);
        } else {
            stream<float>(session, session.widths().in);
        }
    } catch (const embed::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    }
}
