// `{{name}}`: multiplies every volume by the option `factor`. It counts rows and emits the count at
// the end of each polling cycle. The count is the state, which survives reloads.

#include <inttypes.h>
#include <stdlib.h>

#include "nephometer.h"

static const char SCHEMA[] =
    "{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\", \"type\": \"object\","
    " \"additionalProperties\": false, \"properties\": {\"factor\": {\"type\": \"number\","
    " \"default\": 1, \"description\": \"What every volume is multiplied by.\"}}}";

typedef struct scaler {
    double factor;
    uint64_t rows;
} scaler;

static void *make(const nm_options *options, nm_settings *settings) {
    (void)settings; // All meters; settings->meters may name some.
    scaler *self = nm_resize(NULL, 1, sizeof *self);
    *self = (scaler){.factor = 1};
    nm_options_number(options, "factor", &self->factor);
    if (self->factor == 0)
        nm_options_refuse_key(options, "factor", "is 0, which would make all volumes 0");
    return self;
}

static void drop(void *self) {
    free(self);
}

static bool transform(void *self, const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal) {
    (void)refusal;
    scaler *one = self;
    nm_answer_builder answer = nm_answer_to(batch);
    nm_rows rows = nm_rows_of(batch);
    for (nm_row row; nm_rows_next(&rows, &row);) {
        nm_answer_derive(&answer, &row, row.meter_number, row.volume * one->factor);
        one->rows++;
    }
    nm_replace(outcome, &answer);
    return true;
}

static bool flush(void *self, uint64_t now, nm_maybe_answer *maybe, nm_refusal *refusal) {
    (void)refusal;
    const scaler *one = self;
    nm_answer_builder answer = nm_answer_to(NULL);
    nm_meter meter = {nm_text_of("{{name}}.rows"), nm_text_of("row"), NM_CUMULATIVE};
    nm_resource resource = {.id = nm_text_of("{{name}}"), .source = nm_text_of("openstack")};
    nm_answer_create(&answer, nm_answer_meter(&answer, &meter),
                     nm_answer_resource(&answer, &resource), now, (double)one->rows);
    nm_give(maybe, &answer);
    return true;
}

static bool save(void *self, nm_writer *state, nm_text *error) {
    (void)error;
    const scaler *one = self;
    nm_print(state, "{\"rows\": %" PRIu64 "}", one->rows);
    return true;
}

static bool restore(void *self, uint32_t version, nm_text state, nm_text *error) {
    scaler *one = self;
    if (version != 1)
        return nm_state_error(error, "state of version %u; this component reads 1", (unsigned)version);
    nm_json read;
    if (!nm_json_read(state, &read))
        return nm_state_error(error, "the state is not JSON");
    const nm_json *rows = nm_json_get(&read, "rows");
    bool taken = rows && rows->kind == NM_NUMBER && rows->number >= 0;
    if (taken)
        one->rows = (uint64_t)rows->number;
    else
        nm_state_error(error, "the state has no rows");
    nm_json_free(&read);
    return taken;
}

const nm_transformer nephometer_transformer = {
    .name = "{{name}}",
    .version = "0.1.0",
    .summary = "scales volumes",
    .options_schema = SCHEMA,
    .state_version = 1,
    .make = make,
    .drop = drop,
    .transform = transform,
    .flush = flush,
    .save = save,
    .restore = restore,
};
