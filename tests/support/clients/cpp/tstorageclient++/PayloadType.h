// What a payload type needs of the official C++ client; written from its documentation, for tests.
#pragma once

#include <cstddef>

namespace tstorage {

template <typename T>
class PayloadType {
public:
    virtual ~PayloadType() = default;
    virtual std::size_t toBytes(const T& val, void* buffer, std::size_t size) = 0;
    virtual bool fromBytes(T& out, const void* buffer, std::size_t size) = 0;
};

}  // namespace tstorage
