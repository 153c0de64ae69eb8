// Reads a letter's payload given as hex, prints its fields, then encodes the same values and prints the bytes.
#include <cstdio>
#include <iostream>

#include "Letter.hpp"
#include "Meter.hpp"

int main(int count, char** arguments) {
    if (count != 2) return 2;
    const std::string hex = arguments[1];
    std::vector<std::uint8_t> octets;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        octets.push_back(static_cast<std::uint8_t>(std::stoul(hex.substr(i, 2), nullptr, 16)));
    }
    LetterPayloadType type;
    Letter letter;
    if (!type.fromBytes(letter, octets.data(), octets.size())) return 4;
    std::cout << (letter.state == State::ON) << " " << letter.subject << " " << letter.tag.size() << " " << letter.samples[1] << " "
              << letter.phases.size() << " " << letter.phases[0].volts << " " << letter.phases[0].has_amps << " "
              << letter.phases[0].amps << " " << letter.has_maybe << " " << letter.rest.size() << "\n";

    Letter made;
    made.state = State::ON;
    made.subject = "Gr\xc3\xbc\xc3\x9f" "e";
    made.samples = {1, -2, 300};
    made.phases.resize(1);
    made.phases[0].volts = 1.5f;
    made.phases[0].has_amps = true;
    made.phases[0].amps = 6;
    made.rest = {0, 255};
    std::vector<std::uint8_t> again(type.toBytes(made, nullptr, 0));
    type.toBytes(made, again.data(), again.size());
    for (const std::uint8_t octet : again) std::printf("%02x", octet);
    std::printf("\n");
    std::fflush(stdout);

    try {
        made.tag = std::string(256, 'x');
        type.toBytes(made, nullptr, 0);
        return 5;
    } catch (const std::length_error& error) {
        std::cout << error.what() << "\n";
    }
    try {
        MeterPayloadType meters;
        Meter meter;
        meter.name = "123456789";
        meters.toBytes(meter, nullptr, 0);
        return 6;
    } catch (const std::length_error& error) {
        std::cout << error.what() << "\n";
    }
    return 0;
}
