// Gives files to the fuzzer's target without a fuzzer: replay FILES.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int count, char** files) {
    for (int k = 1; k < count; ++k) {
        std::ifstream file(files[k], std::ios::binary);
        if (!file) {
            std::fprintf(stderr, "%s: cannot be read\n", files[k]);
            return 1;
        }
        std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
        LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    }
    std::printf("%d files\n", count - 1);
}
