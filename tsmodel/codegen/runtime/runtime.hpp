namespace tsmodel_runtime {

inline float float32_of(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline double float64_of(std::uint64_t bits) {
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline std::uint32_t bits_of_float32(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline std::uint64_t bits_of_float64(double value) {
    std::uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline bool is_utf8(const std::uint8_t* at, std::size_t size) {
    std::size_t i = 0;
    while (i < size) {
        const std::uint8_t first = at[i++];
        if (first < 0x80) continue;
        const std::size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
        if (first < 0xc2 || first > 0xf4 || size - i < more) return false;
        if ((first == 0xe0 && at[i] < 0xa0) || (first == 0xed && at[i] > 0x9f)) return false;
        if ((first == 0xf0 && at[i] < 0x90) || (first == 0xf4 && at[i] > 0x8f)) return false;
        for (const std::size_t end = i + more; i < end; i++) {
            if ((at[i] & 0xc0) != 0x80) return false;
        }
    }
    return true;
}

// What is left to read; `ok` is false once more was asked for than was there.
struct In {
    const std::uint8_t* at;
    const std::uint8_t* end;
    bool ok;

    std::size_t remaining() const { return static_cast<std::size_t>(end - at); }

    const std::uint8_t* next(std::size_t size) {
        const std::uint8_t* start = at;
        if (remaining() < size) {
            ok = false;
            return nullptr;
        }
        at += size;
        return start;
    }

    std::uint64_t take_le(std::size_t size) {
        const std::uint8_t* octets = next(size);
        std::uint64_t value = 0;
        for (std::size_t i = size; octets != nullptr && i > 0; i--) value = value << 8 | octets[i - 1];
        return value;
    }

    std::uint64_t take_be(std::size_t size) {
        const std::uint8_t* octets = next(size);
        std::uint64_t value = 0;
        for (std::size_t i = 0; octets != nullptr && i < size; i++) value = value << 8 | octets[i];
        return value;
    }

    bool zeros(std::size_t size) {
        const std::uint8_t* octets = next(size);
        for (std::size_t i = 0; octets != nullptr && i < size; i++) {
            if (octets[i] != 0) return false;
        }
        return octets != nullptr;
    }

    void take_bytes(std::uint8_t* to, std::size_t size) {
        const std::uint8_t* octets = next(size);
        if (octets != nullptr && size != 0) std::memcpy(to, octets, size);
    }

    // Text of `size` bytes; when `padded`, it ends at the first NUL, and what follows must be NUL.
    bool take_text(std::string& to, std::size_t size, bool padded) {
        const std::uint8_t* octets = next(size);
        if (octets == nullptr) return false;
        std::size_t length = size;
        if (padded) {
            length = 0;
            while (length < size && octets[length] != 0) length++;
            for (std::size_t i = length; i < size; i++) {
                if (octets[i] != 0) return false;
            }
        }
        to.assign(reinterpret_cast<const char*>(octets), length);
        return is_utf8(octets, length);
    }
};

// What is written, as far as it fits, and how many bytes it takes.
struct Out {
    std::uint8_t* at;
    std::size_t size;
    std::size_t needed;

    void give(const void* octets, std::size_t count) {
        if (count != 0 && needed <= size && count <= size - needed) std::memcpy(at + needed, octets, count);
        needed += count;
    }

    void give_le(std::uint64_t value, std::size_t count) {
        std::uint8_t octets[8];
        for (std::size_t i = 0; i < count; i++) octets[i] = static_cast<std::uint8_t>(value >> (8 * i));
        give(octets, count);
    }

    void give_be(std::uint64_t value, std::size_t count) {
        std::uint8_t octets[8];
        for (std::size_t i = 0; i < count; i++) octets[i] = static_cast<std::uint8_t>(value >> (8 * (count - 1 - i)));
        give(octets, count);
    }

    void give_zeros(std::size_t count) {
        const std::uint8_t zero = 0;
        for (std::size_t i = 0; i < count; i++) give(&zero, 1);
    }

    void give_text(const std::string& text, std::size_t count) {
        give(text.data(), text.size());
        give_zeros(count - text.size());
    }
};

inline std::size_t at_most(std::size_t size, std::uint64_t most, const char* what) {
    if (size > most) throw std::length_error(std::string(what) + " is too long");
    return size;
}

inline void check_utf8(const std::string& text, const char* what) {
    if (is_utf8(reinterpret_cast<const std::uint8_t*>(text.data()), text.size())) return;
    throw std::invalid_argument(std::string(what) + " is not UTF-8");
}

inline void check_text(const std::string& text, std::size_t most, const char* what) {
    at_most(text.size(), most, what);
    check_utf8(text, what);
    if (text.find('\0') != std::string::npos) throw std::invalid_argument(std::string(what) + " has a NUL character");
}

}  // namespace tsmodel_runtime
