// For tests of a transformer without a host, compiled by the machine's own compiler.
//
// All calls go through the functions that the component exports, memory and all, so that a
// sanitizer sees what the host would. Samples are maps in the keys that `nephometer component run`
// reads and prints.

#ifndef NEPHOMETER_TEST_H
#define NEPHOMETER_TEST_H

#include "nephometer.h"

// Counts a failure with its place and says what it is, if something does not hold.
#define NM_CHECK(holds, ...) nm_check((holds), __FILE__, __LINE__, __VA_ARGS__)

bool nm_check(bool holds, const char *file, int line, const char *format, ...) NM_FORMAT(4, 5);
// Says how it went; the exit status of a test.
int nm_test_result(void);

// A whole file, ended by a zero that does not count; ends the test if it cannot be read.
nm_text nm_test_file(const char *path);
// JSON that has to be right; ends the test if it is not.
nm_json nm_test_json(nm_text text);

// Nanoseconds since the epoch of an ISO 8601 timestamp, in UTC without an offset.
bool nm_test_nanoseconds(nm_text timestamp, uint64_t *nanoseconds);

// The exact value of a JSON integer beyond 2^53; false for any other number.
bool nm_test_integer(const nm_json *volume, int64_t *value);

// A batch with one row per sample. What a sample does not have it has of the defaults, which may be
// NULL. Meters and resources that are new are sent to the library, under numbers in no order. A
// batch is for the instance that is there: after nm_test_configure it is invalid.
nm_batch nm_test_batch(const nm_json *samples, const nm_json *defaults);
// The resource of this id was removed; its numbers are forgotten after the batch.
void nm_test_removed(nm_batch *batch, nm_text id);

// One row of an outcome. Meters and resources stay until the test ends.
typedef struct nm_sample {
    const nm_meter *meter;
    const nm_resource *resource;
    uint64_t time;
    double volume;
    bool is_exact; // an integer of 2^53 or more
    int64_t exact;
    uint32_t origin;
} nm_sample;

typedef struct nm_samples {
    nm_sample *all;
    size_t len;
    nm_outcome outcome;
    nm_batch batch; // a copy
} nm_samples;

// A new instance of the transformer under test. Everything that is given is taken over.
bool nm_test_configure(nm_text options, nm_option_errors *errors);
// What the transformer makes of a batch; false if it is refused.
bool nm_test_transform(nm_batch batch, nm_samples *samples, nm_refusal *refusal);
bool nm_test_flush(uint64_t now, nm_samples *samples, nm_refusal *refusal);
void nm_samples_free(nm_samples *samples);

// All fixtures of a folder that are JSON: see docs/fixtures.md. Numbers may differ by a part of
// them; the host takes 1e-12. How many there were.
size_t nm_test_fixtures(const char *folder, double part);

// What has been logged since this was last asked, `LEVEL: LINE` each: the first 1,000 lines.
stateful_transformer_list_string_t nm_test_log(void);

#endif
