/* Reads a meter's payload given as hex, prints its fields, then encodes the same values and prints the bytes. */
#include <stdio.h>
#include "Meter.h"

int main(int count, char** arguments) {
    unsigned char octets[1000];
    size_t size = 0;
    MeterRecord record;
    Meter* meter = &record.payload;
    if (count != 2) return 2;
    for (const char* at = arguments[1]; at[0] != 0; at += 2) {
        unsigned octet;
        sscanf(at, "%2x", &octet);
        octets[size++] = (unsigned char)octet;
    }
    if (Meter_payloadType.offset != offsetof(MeterRecord, payload)) return 3;
    if (Meter_payloadType.fromBytes((char*)&record + Meter_payloadType.offset, octets, size) != 0) return 4;
    printf("%d %llu %.1f %d %d %d %d\n", (int)meter->counter, (unsigned long long)meter->total, meter->volts, meter->valid,
           meter->state == State_BROKEN, meter->kept, meter->alarms == (Alarm_OPEN | Alarm_HOT));
    printf("%d %d %s %d %lld %d %02x%02x\n", meter->low, meter->high, meter->name, meter->raw[2], (long long)meter->at,
           (int)meter->price, meter->serial[1], meter->serial[15]);
    printf("%.1f %s|%s| %d %.1f %d %.1f %d\n", meter->profile[1], meter->names[0], meter->names[1], meter->phases[0].has_amps,
           meter->phases[1].volts, meter->phases[1].amps, meter->main.volts, meter->main.amps);
    printf("%d %d %d %u %d %s %d %c\n", meter->has_temp, meter->has_level, meter->has_limit, (unsigned)meter->limit,
           meter->has_note, meter->note, meter->default_, meter->letter);

    const Meter made = {
        .counter = -7, .total = 9223372036854775813ULL, .volts = 230.5f, .valid = true, .state = State_BROKEN, .kept = -3,
        .alarms = Alarm_OPEN | Alarm_HOT, .low = 5, .high = 31, .name = "Z\xc3\xa4hler", .raw = {1, 2, 255}, .at = 1000000000,
        .price = -1234,
        .serial = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
        .profile = {1.5, -2.5, 0.0}, .names = {"ab", ""},
        .phases = {{.volts = 1.0f, .has_amps = false}, {.volts = 2.0f, .has_amps = true, .amps = -2}},
        .main = {.volts = 3.0f, .has_amps = true, .amps = 300}, .has_limit = true, .limit = 7,
        .has_note = true, .note = "\xc3\xa4\xc3\xb6", .default_ = -128, .letter = 'A',
    };
    size = Meter_payloadType.toBytes(&made, octets, sizeof octets);
    for (size_t i = 0; i < size; i++) printf("%02x", octets[i]);
    printf("\n");
    return 0;
}
