/* Sends the load of this machine to a TStorage server: C99 and POSIX sockets, no library.
 *
 *     cc -std=c99 -Wall -Wextra -o writer writer.c && ./writer 127.0.0.1 2025 20
 *
 * A put is a header, batches of records, and a guard. A record is a size, the key without cid and acq, and the payload: here
 * a struct, sent as it is in memory. In Python, that layout is `class Load(TSModel, align="c")`. For little-endian machines.
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CID = 2, MID = 1, MOID = 5, PUT = 5, GUARD = -1 };

typedef struct {
    uint16_t running;
    float one;
    double five;
} Load;

#pragma pack(push, 1)
typedef struct {
    int32_t command;
    uint64_t size;
} Header;

typedef struct {
    int32_t size; /* of what follows */
    int64_t mid;
    int32_t moid;
    int64_t cap;
    Load load;
} Record;
#pragma pack(pop)

static const int64_t EPOCH = 978307200; /* 2001-01-01 in Unix seconds */

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return ((int64_t)t.tv_sec - EPOCH) * 1000000000 + t.tv_nsec;
}

static Record sample(void) {
    Record record;
    unsigned running = 0;
    float one = 0;
    double five = 0;
    FILE *file = fopen("/proc/loadavg", "r");
    if (file != NULL) {
        if (fscanf(file, "%f %lf %*f %u", &one, &five, &running) != 3) running = 0;
        fclose(file);
    }
    memset(&record, 0, sizeof record); /* padding is zeros */
    record.size = (int32_t)(sizeof record - sizeof record.size);
    record.mid = MID;
    record.moid = MOID;
    record.cap = now();
    record.load.running = (uint16_t)running;
    record.load.one = one;
    record.load.five = five;
    return record;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void send_all(int server, const void *from, size_t size) {
    const char *at = from;
    while (size > 0) {
        const ssize_t sent = send(server, at, size, 0);
        if (sent < 0) fail("send");
        at += sent;
        size -= (size_t)sent;
    }
}

static void receive_all(int server, void *to, size_t size) {
    char *at = to;
    while (size > 0) {
        const ssize_t received = recv(server, at, size, 0);
        if (received <= 0) fail("no answer: the records may be stored or not");
        at += received;
        size -= (size_t)received;
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s HOST PORT SAMPLES\n", argv[0]);
        return 2;
    }
    const int count = atoi(argv[3]);
    Record *records = calloc((size_t)count, sizeof *records);
    if (records == NULL) fail("calloc");
    const struct timespec pause = {0, 10 * 1000 * 1000};
    for (int n = 0; n < count; n++) {
        records[n] = sample();
        nanosleep(&pause, NULL);
    }

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) fail("inet_pton");
    const int server = socket(AF_INET, SOCK_STREAM, 0);
    if (server < 0 || connect(server, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");

    const Header header = {PUT, 0};
    const int32_t batch[] = {CID, (int32_t)((size_t)count * sizeof *records)};
    const int32_t guard = GUARD;
    send_all(server, &header, sizeof header);
    send_all(server, batch, sizeof batch);
    send_all(server, records, (size_t)count * sizeof *records);
    send_all(server, &guard, sizeof guard);

    Header answer;
    receive_all(server, &answer, sizeof answer);
    if (answer.command != 0) {
        fprintf(stderr, "the server refuses the put: status %d\n", answer.command);
        return 1;
    }
    int64_t acq[2];
    receive_all(server, acq, sizeof acq);
    printf("stored %d records, acq %lld to %lld\n", count, (long long)acq[0], (long long)acq[1]);
    close(server);
    free(records);
    return 0;
}
