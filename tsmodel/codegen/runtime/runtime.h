// What toBytes returns for a value that cannot be stored: TSCLIENT_PAYLOAD_SIZE_MAX.
#define TSMODEL_REFUSED ((size_t)INT32_MAX - 32)
// What is left to read; `ok` is false once more was asked for than was there.
typedef struct { const uint8_t* at; const uint8_t* end; bool ok; } tsmodel_in;
// What is written, as far as it fits, and how many bytes it takes.
typedef struct { uint8_t* at; size_t size; size_t needed; } tsmodel_out;

static inline const uint8_t* tsmodel_next(tsmodel_in* in, size_t size) {
    const uint8_t* at = in->at;
    if ((size_t)(in->end - at) < size) {
        in->ok = false;
        return NULL;
    }
    in->at += size;
    return at;
}

static inline uint64_t tsmodel_take_le(tsmodel_in* in, size_t size) {
    const uint8_t* at = tsmodel_next(in, size);
    uint64_t value = 0;
    for (size_t i = 0; at != NULL && i < size; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static inline uint64_t tsmodel_take_be(tsmodel_in* in, size_t size) {
    const uint8_t* at = tsmodel_next(in, size);
    uint64_t value = 0;
    for (size_t i = 0; at != NULL && i < size; i++) value = value << 8 | at[i];
    return value;
}

static inline bool tsmodel_zeros(tsmodel_in* in, size_t size) {
    const uint8_t* at = tsmodel_next(in, size);
    for (size_t i = 0; at != NULL && i < size; i++) {
        if (at[i] != 0) return false;
    }
    return at != NULL;
}

static inline void tsmodel_take_bytes(tsmodel_in* in, uint8_t* to, size_t size) {
    const uint8_t* at = tsmodel_next(in, size);
    if (at != NULL) memcpy(to, at, size);
}

static inline bool tsmodel_is_utf8(const uint8_t* at, size_t size) {
    size_t i = 0;
    while (i < size) {
        const uint8_t first = at[i++];
        if (first < 0x80) continue;
        const size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
        if (first < 0xc2 || first > 0xf4 || size - i < more) return false;
        if ((first == 0xe0 && at[i] < 0xa0) || (first == 0xed && at[i] > 0x9f)) return false;
        if ((first == 0xf0 && at[i] < 0x90) || (first == 0xf4 && at[i] > 0x8f)) return false;
        for (size_t end = i + more; i < end; i++) {
            if ((at[i] & 0xc0) != 0x80) return false;
        }
    }
    return true;
}

// Text of `size` bytes, ended by NUL in `to`; false when it is not UTF-8, or something follows its end.
static inline bool tsmodel_take_text(tsmodel_in* in, char* to, size_t size) {
    const uint8_t* at = tsmodel_next(in, size);
    size_t length = 0;
    if (at == NULL) return false;
    while (length < size && at[length] != 0) length++;
    for (size_t i = length; i < size; i++) {
        if (at[i] != 0) return false;
    }
    memcpy(to, at, length);
    memset(to + length, 0, size + 1 - length);
    return tsmodel_is_utf8(at, length);
}

static inline float tsmodel_float32_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline double tsmodel_float64_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t tsmodel_bits_of_float32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint64_t tsmodel_bits_of_float64(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline void tsmodel_give(tsmodel_out* out, const uint8_t* octets, size_t size) {
    if (size != 0 && out->needed <= out->size && size <= out->size - out->needed) memcpy(out->at + out->needed, octets, size);
    out->needed += size;
}

static inline void tsmodel_give_le(tsmodel_out* out, uint64_t value, size_t size) {
    uint8_t octets[8];
    for (size_t i = 0; i < size; i++) octets[i] = (uint8_t)(value >> (8 * i));
    tsmodel_give(out, octets, size);
}

static inline void tsmodel_give_be(tsmodel_out* out, uint64_t value, size_t size) {
    uint8_t octets[8];
    for (size_t i = 0; i < size; i++) octets[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    tsmodel_give(out, octets, size);
}

static inline void tsmodel_give_zeros(tsmodel_out* out, size_t size) {
    const uint8_t zero = 0;
    for (size_t i = 0; i < size; i++) tsmodel_give(out, &zero, 1);
}

// Text that NUL ends within `size` bytes, or right behind them; false when it is longer, or not UTF-8.
static inline bool tsmodel_give_text(tsmodel_out* out, const char* text, size_t size) {
    size_t length = 0;
    while (length <= size && text[length] != 0) length++;
    if (length > size || !tsmodel_is_utf8((const uint8_t*)text, length)) return false;
    tsmodel_give(out, (const uint8_t*)text, length);
    tsmodel_give_zeros(out, size - length);
    return true;
}
