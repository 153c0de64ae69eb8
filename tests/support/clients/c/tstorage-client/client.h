/* What a payload type needs of the official C client; written from its documentation, for tests. */
#ifndef TSTORAGE_CLIENT_CLIENT_H
#define TSTORAGE_CLIENT_CLIENT_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int32_t cid;
    int32_t moid;
    int64_t mid;
    int64_t cap;
    int64_t acq;
} TSCLIENT_Key;

typedef struct {
    TSCLIENT_Key key;
} TSCLIENT_Record;

typedef struct {
    size_t size;
    size_t offset;
    size_t (*toBytes)(const void* restrict val, void* restrict buffer, size_t size);
    int (*fromBytes)(void* restrict val, const void* restrict buffer, size_t size);
} TSCLIENT_PayloadType;

#endif
