// Networks with random sizes and weights, and artifact folders of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "architecture.h"
#include "model.h"

// The same numbers on every machine, which the distributions of <random> do not promise.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed * 2654435769U + 1) {}

    std::uint32_t next() {  // PCG XSH-RR (O'Neill 2014)
        std::uint64_t old = state_;
        state_ = old * 6364136223846793005ULL + 1442695040888963407ULL;
        auto mixed = static_cast<std::uint32_t>((old >> 18U ^ old) >> 27U);
        auto turn = static_cast<std::uint32_t>(old >> 59U);
        return mixed >> turn | mixed << (-turn & 31U);
    }
    std::size_t below(std::size_t n) { return next() % n; }
    bool flip() { return next() & 1U; }
    float value() { return static_cast<float>(next()) / 2147483648.0F - 1.0F; }  // in [-1, 1]
    std::vector<float> values(std::size_t n) {
        std::vector<float> all(n);
        for (float& one : all) one = value();
        return all;
    }

private:
    std::uint64_t state_;
};

struct Network {
    carrousel::Architecture architecture;
    std::vector<std::vector<float>> memory;
    carrousel::Tensors tensors;
};

// Gives an architecture weights.
Network fill(const carrousel::Architecture& architecture, Random& random);

// A stack of one to three layers: an embedding or a scale at times, LSTMs of every variant, a linear layer at times.
Network random_network(Random& random);

// config.json, and the bytes of model.safetensors, of a network.
std::string config_text(const Network& network, const std::string& checksum);
std::string architecture_text(const carrousel::Architecture& architecture);
std::string safetensors_bytes(const Network& network);

// A folder for the life of a test.
class Folder {
public:
    Folder();
    ~Folder();
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    std::string path() const { return path_.string(); }
    std::string operator/(const std::string& name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

void write_file(const std::string& path, const std::string& bytes);
void save(const Network& network, const Folder& folder);
