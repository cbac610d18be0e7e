// Helpers for native tests of a transformer, without a host.
//
// All calls go through the exported functions, including their memory management, so sanitizers
// check it as well. Samples are maps with the keys that `nephometer component run` reads and
// prints.

#ifndef NEPHOMETER_TEST_H
#define NEPHOMETER_TEST_H

#include "nephometer.h"

// Reports a failure with its source line if a condition does not hold. Returns the condition.
#define NM_CHECK(holds, ...) nm_check((holds), __FILE__, __LINE__, __VA_ARGS__)

bool nm_check(bool holds, const char *file, int line, const char *format, ...) NM_FORMAT(4, 5);
// Prints the result. Returns the exit status of the test.
int nm_test_result(void);

// Reads a whole file. A zero follows the text. Ends the test if the file cannot be read.
nm_text nm_test_file(const char *path);
// Parses JSON. Ends the test if it is malformed.
nm_json nm_test_json(nm_text text);

// Converts an ISO 8601 timestamp to nanoseconds since the epoch; UTC if it has no offset.
bool nm_test_nanoseconds(nm_text timestamp, uint64_t *nanoseconds);

// The exact value of a JSON integer beyond 2^53; false for any other number.
bool nm_test_integer(const nm_json *volume, int64_t *value);

// A batch with one row per sample. Missing keys of samples are taken from the defaults, which may
// be NULL. New meters and resources are sent to the library under shuffled numbers. A batch is
// invalid after the next nm_test_configure.
nm_batch nm_test_batch(const nm_json *samples, const nm_json *defaults);
// Reports the resource with this id as removed. Its numbers are forgotten after the batch.
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

// Configures a new instance of the transformer. Takes ownership of the options.
bool nm_test_configure(nm_text options, nm_option_errors *errors);
// Transforms a batch; false if it is refused.
bool nm_test_transform(nm_batch batch, nm_samples *samples, nm_refusal *refusal);
bool nm_test_flush(uint64_t now, nm_samples *samples, nm_refusal *refusal);
void nm_samples_free(nm_samples *samples);

// Runs all JSON fixtures of a folder; see docs/fixtures.md. `tolerance` is the relative tolerance
// of numbers; that of the host is 1e-12. Returns the number of fixtures.
size_t nm_test_fixtures(const char *folder, double tolerance);

// Returns the lines logged since the last call, each as `LEVEL: LINE`: the first 1,000.
stateful_transformer_list_string_t nm_test_log(void);

#endif
