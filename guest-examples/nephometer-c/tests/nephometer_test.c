// Tests of the library. The transformer keeps every other row, unless a test sets another one.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nephometer_test.h"

static bool (*own_transform)(const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal);
static bool (*own_flush)(uint64_t now, nm_maybe_answer *answer, nm_refusal *refusal);

static void *make(const nm_options *options, nm_settings *settings) {
    static const char *const metadata[] = {"flavor", NULL};
    settings->metadata = metadata;
    nm_text word;
    nm_options_text(options, "word", &word);
    return nm_resize(NULL, 1, 1);
}

static bool transform(void *self, const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal) {
    (void)self;
    if (own_transform)
        return own_transform(batch, outcome, refusal);
    if (batch->removed.len)
        return nm_rejected(refusal, "%zu are removed", batch->removed.len);
    uint32_t rows[16];
    size_t len = 0;
    nm_rows all = nm_rows_of(batch);
    for (nm_row row; nm_rows_next(&all, &row);)
        if (row.number % 2 == 0)
            rows[len++] = row.number;
    nm_keep(outcome, rows, len);
    return true;
}

static bool flush(void *self, uint64_t now, nm_maybe_answer *answer, nm_refusal *refusal) {
    (void)self;
    return !own_flush || own_flush(now, answer, refusal);
}

const nm_transformer nephometer_transformer = {
    .name = "other",
    .version = "1",
    .summary = "every other row",
    .options_schema = "",
    .make = make,
    .drop = free,
    .transform = transform,
    .flush = flush,
};

static nm_json json(const char *text) {
    return nm_test_json(nm_text_of(text));
}

static void json_is_written_as_it_was_read(void) {
    static const char *const texts[] = {
        "null",
        "true",
        "[]",
        "{}",
        "[1,-2,0.5,1e+300,9007199254740993,1.5e-300]",
        "{\"a\":{\"b\":[false,\"\"]},\"\":\"\xc3\xa4\xf0\x9f\x98\x80\"}",
        "\"\\u0000\\u001f\\\"\\\\/\"",
    };
    for (size_t number = 0; number < sizeof texts / sizeof *texts; number++) {
        nm_json value = json(texts[number]);
        nm_writer writer = {0};
        nm_json_write(&writer, &value);
        nm_text text = nm_written(&writer);
        NM_CHECK(nm_text_is(text, texts[number]), "%.*s", NM_PRINT(text));
        stateful_transformer_string_free(&text);
        nm_json_free(&value);
    }
}

static void escapes_are_read(void) {
    nm_json value = json(" \"\\u00e4\\u20AC\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\" ");
    const char expected[] = "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80/\b\f\n\r\t";
    NM_CHECK(nm_text_is(value.text, expected), "%.*s", NM_PRINT(value.text));
    nm_json_free(&value);
}

static void malformed_json_is_refused(void) {
    static const char *const texts[] = {
        "", " ", "nul", "[1", "[1,]", "[,1]", "{\"a\"}", "{\"a\":1,}", "{a:1}", "\"",
        "\"\\x\"", "\"\\u12g4\"", "\"\n\"", "01", "-", "1.", ".5", "1e", "+1", "1e400", "NaN",
        "1 2", "\"\\ud800\"", "\"\\udc00\"", "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"",
        "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "[] []",
    };
    for (size_t number = 0; number < sizeof texts / sizeof *texts; number++) {
        nm_json value;
        // In a place of its own length, so that reading beyond its end is found.
        nm_text text = nm_text_copy(nm_text_of(texts[number]));
        NM_CHECK(!nm_json_read(text, &value), "%s", texts[number]);
        stateful_transformer_string_free(&text);
    }
}

static void depth_has_a_limit(void) {
    for (size_t more = 0; more < 2; more++) {
        size_t depth = NM_JSON_DEPTH + more;
        nm_text text = {nm_resize(NULL, 2, depth), 2 * depth};
        memset(text.ptr, '[', depth);
        memset(text.ptr + depth, ']', depth);
        nm_json value;
        NM_CHECK(nm_json_read(text, &value) == !more, "%zu deep", depth);
        nm_json_free(&value);
        stateful_transformer_string_free(&text);
    }
}

static void numbers_survive_a_round_trip(void) {
    uint64_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        seed = seed * UINT64_C(6364136223846793005) + 1;
        double number;
        memcpy(&number, &seed, sizeof number);
        if (!isfinite(number))
            continue;
        nm_writer writer = {0};
        nm_json_write_number(&writer, number);
        nm_text text = nm_written(&writer);
        nm_json value = nm_test_json(text);
        NM_CHECK(value.number == number, "%.17g", number);
        nm_json_free(&value);
        stateful_transformer_string_free(&text);
    }
    nm_writer writer = {0};
    nm_json_write_number(&writer, 0.1);
    nm_json_write_number(&writer, INFINITY);
    nm_text text = nm_written(&writer);
    NM_CHECK(nm_text_is(text, "0.1null"), "%.*s", NM_PRINT(text));
    stateful_transformer_string_free(&text);
}

static void check_equal(const char *one, const char *other, bool equal) {
    nm_json first = json(one), second = json(other);
    NM_CHECK(nm_json_equal(&first, &second) == equal, "%s and %s", one, other);
    nm_json_free(&first);
    nm_json_free(&second);
}

static void values_are_compared(void) {
    check_equal("{\"a\": 1, \"b\": [2]}", "{\"b\": [2.0], \"a\": 1e0}", true);
    check_equal("{\"a\": 1}", "{\"b\": 1}", false);
    check_equal("[1, 2]", "[2, 1]", false);
    check_equal("9007199254740993", "9007199254740992", false);
    check_equal("true", "false", false);
}

#define SAMPLE                                                                                     \
    "{\"name\": \"cpu\", \"unit\": \"ns\", \"type\": \"delta\", \"resource_id\": \"r\", "          \
    "\"resource_metadata\": {\"flavor\": {\"vcpus\": 2}}, "                                         \
    "\"timestamp\": \"1970-01-01T00:00:01.5Z\", "
#define SAMPLES "[" SAMPLE "\"volume\": 3}, " SAMPLE "\"name\": \"memory\", \"volume\": 4}]"

static nm_batch batch(void) {
    nm_json samples = json(SAMPLES);
    nm_batch batch = nm_test_batch(&samples, NULL);
    nm_json_free(&samples);
    return batch;
}

static void rows_have_their_entries(void) {
    nm_batch input = batch();
    nm_rows rows = nm_rows_of(&input);
    nm_row row;
    NM_CHECK(nm_rows_next(&rows, &row) && row.number == 0 && row.time == 1500000000, "the first");
    NM_CHECK(nm_text_is(row.meter->name, "cpu") && row.monotonic == 0 && row.volume == 3, "it");
    uint32_t meter = row.meter_number, resource = row.resource_number;
    NM_CHECK(nm_rows_next(&rows, &row) && nm_text_is(row.meter->name, "memory"), "the second");
    NM_CHECK(row.meter_number != meter && row.resource_number == resource, "its numbers");
    nm_json metadata;
    NM_CHECK(nm_resource_metadata(row.resource, &metadata), "metadata");
    NM_CHECK(nm_json_get(nm_json_get(&metadata, "flavor"), "vcpus")->number == 2, "2");
    nm_json_free(&metadata);
    NM_CHECK(!nm_rows_next(&rows, &row), "there are two");
    exports_nephometer_metering_transform_batch_free(&input);
}

// A batch of one row: a sample with this volume, as JSON, of the resource with this id.
static nm_batch one_row(const char *volume, const char *id) {
    static const char format[] = "[" SAMPLE "\"volume\": %s, \"resource_id\": \"%s\"}]";
    nm_text text = nm_text_print(format, volume, id);
    nm_json samples = nm_test_json(text);
    nm_batch batch = nm_test_batch(&samples, NULL);
    nm_json_free(&samples);
    stateful_transformer_string_free(&text);
    return batch;
}

static void configure(void) {
    nm_option_errors errors;
    NM_CHECK(nm_test_configure(nm_text_copy(nm_text_of("{}")), &errors), "nothing wrong");
}

static nm_samples transformed(nm_batch input) {
    nm_samples found;
    nm_refusal refusal;
    NM_CHECK(nm_test_transform(input, &found, &refusal), "refused");
    return found;
}

static nm_meter gauge(const char *name) {
    return (nm_meter){nm_text_of(name), nm_text_of("%"), NM_GAUGE};
}

static void own_entries_are_numbered_by_content(void) {
    configure();
    nm_batch input = batch();
    nm_answer_builder builder = nm_answer_to(&input);
    nm_meter util = gauge("cpu_util"), other = util;
    other.unit = nm_text_of("1");
    nm_rows rows = nm_rows_of(&input);
    nm_row row;
    nm_rows_next(&rows, &row);
    NM_CHECK(nm_answer_meter(&builder, row.meter) == 0x80000000, "never a number of the host");
    NM_CHECK(nm_answer_meter(&builder, &util) == 0x80000001, "a new one");
    NM_CHECK(nm_answer_meter(&builder, &other) == 0x80000002, "another");
    NM_CHECK(nm_answer_meter(&builder, &util) == 0x80000001, "the same again");
    nm_resource same = *row.resource, owned = same, bare = same;
    owned.project_id = (stateful_transformer_option_string_t){true, {NULL, 0}};
    bare.metadata = (nm_text){NULL, 0};
    NM_CHECK(nm_answer_resource(&builder, &same) == 0x80000000, "a new one");
    NM_CHECK(nm_answer_resource(&builder, &owned) == 0x80000001, "no project is not an empty one");
    NM_CHECK(nm_answer_resource(&builder, &owned) == 0x80000001, "the same again");
    NM_CHECK(nm_answer_resource(&builder, &bare) == 0x80000002, "no metadata");
    bare.metadata = nm_text_of("{}");
    NM_CHECK(nm_answer_resource(&builder, &bare) == 0x80000002, "stand for empty ones");
    for (uint32_t number = 0; number < 1000; number++) {
        nm_text name = nm_text_print("m%u", (unsigned)number);
        nm_meter many = {name, {NULL, 0}, NM_GAUGE};
        NM_CHECK(nm_answer_meter(&builder, &many) == 0x80000003 + number, "many");
        stateful_transformer_string_free(&name);
    }
    nm_answer_drop(&builder);
    exports_nephometer_metering_transform_batch_free(&input);
}

// Which rows the answer has, in this order: k keeps the first row of the batch, K the second, d
// derives from the first, c is created.
static const char *wanted_rows;

static bool make_rows(const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal) {
    (void)refusal;
    nm_rows rows = nm_rows_of(batch);
    nm_row both[2];
    nm_rows_next(&rows, &both[0]);
    nm_rows_next(&rows, &both[1]);
    nm_meter util = gauge("cpu_util");
    nm_resource cloud = {.id = nm_text_of("cloud"), .source = nm_text_of("openstack")};
    nm_answer_builder builder = nm_answer_to(batch);
    for (const char *one = wanted_rows; *one; one++) {
        uint32_t meter = nm_answer_meter(&builder, &util);
        if (*one == 'd')
            nm_answer_derive(&builder, &both[0], meter, 3.5);
        else if (*one == 'c')
            nm_answer_create(&builder, meter, nm_answer_resource(&builder, &cloud), 9, 4.5);
        else
            nm_answer_keep(&builder, &both[*one == 'K']);
    }
    nm_replace(outcome, &builder);
    return true;
}

static void check_rows(const char *rows, uint8_t tag) {
    wanted_rows = rows;
    nm_samples found = transformed(batch());
    NM_CHECK(found.outcome.tag == tag && found.len == strlen(rows), "the outcome of %s", rows);
    for (size_t row = 0; row < found.len; row++) {
        const nm_sample *one = &found.all[row];
        bool created = rows[row] == 'c', kept = rows[row] == 'k' || rows[row] == 'K';
        double volume = created ? 4.5 : rows[row] == 'd' ? 3.5 : rows[row] == 'K' ? 4 : 3;
        const char *name = !kept ? "cpu_util" : rows[row] == 'K' ? "memory" : "cpu";
        NM_CHECK(one->volume == volume && nm_text_is(one->meter->name, name), "%s, %zu", rows, row);
        NM_CHECK(one->time == (created ? 9u : 1500000000u), "the time in %s, %zu", rows, row);
        NM_CHECK(nm_text_is(one->resource->id, created ? "cloud" : "r"), "%s, %zu", rows, row);
        NM_CHECK((one->origin == NM_NO_ORIGIN) == created, "the origin in %s, %zu", rows, row);
    }
    nm_samples_free(&found);
}

static void only_rows_in_order_are_derived(void) {
    const uint8_t derive = EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_DERIVE;
    const uint8_t replace = EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_REPLACE;
    configure();
    own_transform = make_rows;
    check_rows("", derive);
    check_rows("kddK", derive);
    check_rows("Kd", replace);
    check_rows("kKdKddddddddddd", replace);
    check_rows("c", replace);
    check_rows("kdKc", replace);
    own_transform = NULL;
}

static const nm_answer *answer_of(const nm_samples *found) {
    return &found->outcome.val.replace;
}

static void check_sent(const nm_answer *answer, size_t meters, size_t resources) {
    NM_CHECK(answer->meters.len == meters, "%zu meters are sent", answer->meters.len);
    NM_CHECK(answer->resources.len == resources, "%zu resources are sent", answer->resources.len);
}

static bool give_rows(uint64_t now, nm_maybe_answer *answer, nm_refusal *refusal) {
    (void)refusal;
    nm_answer_builder builder = nm_answer_to(NULL);
    nm_meter util = gauge("cpu_util"), total = gauge("total");
    nm_resource cloud = {.id = nm_text_of("cloud"), .source = nm_text_of("openstack")};
    uint32_t resource = nm_answer_resource(&builder, &cloud);
    nm_answer_create(&builder, nm_answer_meter(&builder, &util), resource, now, 1);
    nm_answer_create(&builder, nm_answer_meter(&builder, &total), resource, now, 2);
    nm_give(answer, &builder);
    return true;
}

static void own_entries_are_sent_once(void) {
    configure();
    own_transform = make_rows;
    own_flush = give_rows;
    wanted_rows = "c";
    nm_samples found = transformed(batch());
    check_sent(answer_of(&found), 1, 1);
    nm_samples_free(&found);
    found = transformed(batch());
    check_sent(answer_of(&found), 0, 0);
    nm_samples_free(&found);
    nm_refusal refusal;
    NM_CHECK(nm_test_flush(1, &found, &refusal) && found.len == 2, "flushed");
    check_sent(answer_of(&found), 1, 0);
    NM_CHECK(answer_of(&found)->meters.ptr[0].number == 0x80000001, "numbered on");
    NM_CHECK(nm_text_is(found.all[0].meter->name, "cpu_util"), "as in the answer before");
    nm_samples_free(&found);
    own_transform = NULL;
    own_flush = NULL;
}

static bool make_and_refuse(const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal) {
    make_rows(batch, outcome, refusal);
    return nm_rejected(refusal, "no");
}

static bool make_and_drop(const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal) {
    (void)outcome;
    (void)refusal;
    nm_answer_builder builder = nm_answer_to(batch);
    nm_meter total = gauge("total");
    nm_answer_create(&builder, nm_answer_meter(&builder, &total), 0, 1, 1);
    nm_answer_drop(&builder);
    return true;
}

static void entries_of_a_dropped_answer_are_sent_with_the_next(void) {
    configure();
    wanted_rows = "c";
    own_transform = make_and_refuse;
    nm_samples found;
    nm_refusal refusal;
    NM_CHECK(!nm_test_transform(batch(), &found, &refusal), "taken");
    exports_nephometer_metering_transform_refusal_free(&refusal);
    own_transform = make_and_drop;
    found = transformed(batch());
    nm_samples_free(&found);
    own_transform = make_rows;
    wanted_rows = "d";
    found = transformed(batch());
    NM_CHECK(found.outcome.val.derive.meters.len == 2, "both meters");
    nm_samples_free(&found);
    wanted_rows = "c";
    found = transformed(batch());
    check_sent(answer_of(&found), 0, 1);
    nm_samples_free(&found);
    own_transform = NULL;
}

static uint32_t next_name;

static bool make_many(const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal) {
    (void)refusal;
    nm_rows rows = nm_rows_of(batch);
    nm_row row;
    nm_rows_next(&rows, &row);
    nm_answer_builder builder = nm_answer_to(batch);
    for (int number = 0; number < 1000; number++) {
        nm_text name = nm_text_print("m%u", (unsigned)next_name++);
        nm_meter meter = {name, {NULL, 0}, NM_GAUGE};
        nm_answer_derive(&builder, &row, nm_answer_meter(&builder, &meter), 1);
        stateful_transformer_string_free(&name);
    }
    nm_replace(outcome, &builder);
    return true;
}

static void too_many_entries_are_replaced(void) {
    configure();
    own_transform = make_many;
    for (int round = 0; round < 20; round++) {
        nm_samples found = transformed(batch());
        // Numbers start again after 9,000, the first thousand beyond the limit.
        uint32_t first = 0x80000000 + (uint32_t)(round % 9) * 1000;
        NM_CHECK(found.outcome.val.derive.meters.ptr[0].number == first, "round %d", round);
        nm_text name = nm_text_print("m%d", round * 1000 + 999);
        NM_CHECK(nm_text_equal(found.all[999].meter->name, name), "%.*s", NM_PRINT(name));
        stateful_transformer_string_free(&name);
        nm_samples_free(&found);
    }
    own_transform = NULL;
}

static bool make_large(const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal) {
    (void)refusal;
    static uint8_t space[256 << 10];
    memset(space, ' ', sizeof space);
    nm_answer_builder builder = nm_answer_to(batch);
    for (int number = 0; number < 100; number++) {
        nm_text id = nm_text_print("r%u", (unsigned)next_name++);
        nm_resource resource = {.id = id, .metadata = {space, sizeof space}};
        uint32_t large = nm_answer_resource(&builder, &resource);
        nm_answer_create(&builder, batch->meter.ptr[0], large, 1, 1);
        stateful_transformer_string_free(&id);
    }
    nm_replace(outcome, &builder);
    return true;
}

// An answer has 25 MiB, more than is kept.
static void too_large_entries_are_replaced(void) {
    configure();
    own_transform = make_large;
    for (uint32_t round = 0; round < 4; round++) {
        nm_samples found = transformed(batch());
        uint32_t first = answer_of(&found)->resources.ptr[0].number;
        NM_CHECK(first == 0x80000000, "round %u", (unsigned)round);
        nm_samples_free(&found);
    }
    own_transform = NULL;
}

static void check_integer(const char *volume, bool whole, int64_t expected) {
    nm_batch input = one_row(volume, "r");
    nm_rows rows = nm_rows_of(&input);
    nm_row row;
    nm_rows_next(&rows, &row);
    int64_t value = 0;
    NM_CHECK(nm_row_integer(&row, &value) == whole && (!whole || value == expected), "%s", volume);
    exports_nephometer_metering_transform_batch_free(&input);
}

static void rows_have_exact_integers(void) {
    check_integer("3", true, 3);
    check_integer("-9007199254740991", true, -9007199254740991);
    check_integer("9007199254740993", true, 9007199254740993);
    check_integer("-9223372036854775808", true, INT64_MIN);
    check_integer("9223372036854775808", false, 0);
    check_integer("9007199254740992", true, 9007199254740992);
    check_integer("0.5", false, 0);
    check_integer("1e300", false, 0);
}

static bool make_integers(const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal) {
    (void)refusal;
    nm_answer_builder builder = nm_answer_to(batch);
    nm_meter util = gauge("cpu_util");
    uint32_t meter = nm_answer_meter(&builder, &util);
    nm_rows rows = nm_rows_of(batch);
    for (nm_row row; nm_rows_next(&rows, &row);) {
        int64_t value;
        nm_row_integer(&row, &value);
        nm_answer_keep(&builder, &row);
        nm_answer_derive_integer(&builder, &row, meter, value + 2);
        nm_answer_derive_integer(&builder, &row, meter, 5);
        nm_answer_create_integer(&builder, meter, row.resource_number, 9, INT64_MIN);
    }
    nm_replace(outcome, &builder);
    return true;
}

static void answers_have_exact_integers(void) {
    configure();
    own_transform = make_integers;
    nm_samples found = transformed(one_row("9007199254740993", "r"));
    static const int64_t expected[] = {9007199254740993, 9007199254740995, 5, INT64_MIN};
    NM_CHECK(found.len == 4, "%zu rows", found.len);
    for (size_t row = 0; row < found.len; row++) {
        const nm_sample *one = &found.all[row];
        NM_CHECK(one->volume == (double)expected[row], "%.17g", one->volume);
        NM_CHECK(one->is_exact == (row != 2), "row %zu", row);
        NM_CHECK(!one->is_exact || one->exact == expected[row], "row %zu", row);
    }
    NM_CHECK(answer_of(&found)->exact.len == 2, "only where a double does not do");
    nm_samples_free(&found);
    own_transform = NULL;
}

// Per resource: how many rows it had so far.
static nm_cache counts;

static bool count_rows(const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal) {
    (void)refusal;
    nm_answer_builder builder = nm_answer_to(batch);
    nm_rows rows = nm_rows_of(batch);
    for (nm_row row; nm_rows_next(&rows, &row);) {
        uint32_t *count = nm_cache_resource(&counts, &row);
        nm_answer_derive(&builder, &row, row.meter_number, ++*count);
    }
    nm_replace(outcome, &builder);
    return true;
}

static double count_of(nm_batch input) {
    nm_samples found = transformed(input);
    double count = NM_CHECK(found.len == 1, "%zu rows", found.len) ? found.all[0].volume : 0;
    nm_samples_free(&found);
    return count;
}

static void a_cache_detects_another_entry_under_a_number(void) {
    configure();
    own_transform = count_rows;
    counts = nm_cache_of(sizeof(uint32_t));
    NM_CHECK(count_of(one_row("1", "a")) == 1 && count_of(one_row("1", "b")) == 1, "new");
    NM_CHECK(count_of(one_row("1", "a")) == 2, "known");
    nm_batch last = one_row("1", "a");
    uint32_t number = last.resource.ptr[0];
    nm_test_removed(&last, nm_text_of("a"));
    NM_CHECK(count_of(last) == 3, "known until it is removed");
    nm_batch next = one_row("1", "c");
    NM_CHECK(next.resource.ptr[0] == number, "the number is used again");
    NM_CHECK(count_of(next) == 1, "for another one");
    NM_CHECK(count_of(one_row("1", "a")) == 1 && count_of(one_row("1", "b")) == 2, "others");
    nm_cache_clear(&counts);
    NM_CHECK(count_of(one_row("1", "b")) == 1, "cleared");
    nm_cache_clear(&counts);
    own_transform = NULL;
}

static void every_error_has_the_pointer_of_its_key(void) {
    nm_json value =
        json("{\"a/b\": {\"x\": 1}, \"c\": [3, {}], \"d\": \"text\", \"e\": true, \"f\": null}");
    nm_option_list errors = {0};
    nm_options reader = nm_options_of(&value, &errors);
    nm_text text;
    double number;
    nm_options inner = nm_options_map(&reader, nm_text_of("a/b"));
    NM_CHECK(!nm_options_text(&inner, "x", &text), "x");
    inner = nm_options_map(&reader, nm_text_of("c"));
    NM_CHECK(!nm_options_text(&inner, "y", &text), "y");
    inner = nm_options_list(&reader, nm_text_of("c"));
    nm_options item = nm_options_item(&inner, 0);
    NM_CHECK(!nm_options_number(&reader, "d", &number), "d");
    NM_CHECK(!nm_options_number(&reader, "e", &number), "e");
    NM_CHECK(!nm_options_number(&reader, "f", &number), "f");
    nm_options_refuse_key(&item, "x~", "no");
    static const char *const known[] = {"a/b", "c", "d", "f", NULL};
    nm_options_warn_of_unknown(&reader, known);
    static const char *const expected[][2] = {
        {"/a~1b/x", "is a number; expected a string"},
        {"/c", "is a list; expected a mapping of keys to values"},
        {"/c/0", "is a number; expected a mapping of keys to values"},
        {"/d", "is a string; expected a number"},
        {"/e", "is a boolean; expected a number"},
        {"/c/0/x~0", "no"},
    };
    NM_CHECK(errors.list.len == 6, "%zu errors", errors.list.len);
    for (size_t one = 0; one < errors.list.len && one < 6; one++) {
        nm_text pointer = errors.list.ptr[one].pointer, reason = errors.list.ptr[one].reason;
        NM_CHECK(nm_text_is(pointer, expected[one][0]), "%.*s", NM_PRINT(pointer));
        NM_CHECK(nm_text_is(reason, expected[one][1]), "%.*s", NM_PRINT(reason));
    }
    exports_nephometer_metering_component_list_option_error_free(&errors.list);
    nm_json_free(&value);
}

static void check_log(const char *expected) {
    stateful_transformer_list_string_t lines = nm_test_log();
    NM_CHECK(lines.len == 1 && nm_text_is(lines.ptr[0], expected), "%zu lines", lines.len);
    stateful_transformer_list_string_free(&lines);
}

static void a_complaint_is_one_line(void) {
    nm_batch input = batch();
    nm_complaint complaint = nm_complaint_that(NM_WARN, "dropping");
    nm_complaint_write(&complaint);
    nm_rows rows = nm_rows_of(&input);
    for (nm_row row; nm_rows_next(&rows, &row);)
        nm_complaint_add(&complaint, &row, "too %s", "late");
    nm_complaint_write(&complaint);
    check_log("warn: dropping: cpu of r: too late, and 1 more");
    exports_nephometer_metering_transform_batch_free(&input);
}

static void the_bridge_keeps_and_refuses(void) {
    nm_option_errors errors;
    NM_CHECK(!nm_test_configure(nm_text_copy(nm_text_of("{\"word\": 1}")), &errors), "no text");
    exports_nephometer_metering_component_list_option_error_free(&errors);
    NM_CHECK(!nm_test_configure(nm_text_copy(nm_text_of("{")), &errors), "no JSON");
    exports_nephometer_metering_component_list_option_error_free(&errors);
    NM_CHECK(nm_test_configure(nm_text_copy(nm_text_of("{}")), &errors), "nothing wrong");
    nm_samples found;
    nm_refusal refusal;
    NM_CHECK(nm_test_transform(batch(), &found, &refusal), "taken");
    NM_CHECK(found.len == 1 && found.all[0].volume == 3, "every other row");
    nm_samples_free(&found);
    nm_batch removed = batch();
    nm_test_removed(&removed, nm_text_of("r"));
    NM_CHECK(!nm_test_transform(removed, &found, &refusal), "refused");
    NM_CHECK(nm_text_is(refusal.val.rejected, "1 are removed"), "why");
    exports_nephometer_metering_transform_refusal_free(&refusal);
    NM_CHECK(nm_test_flush(1, &found, &refusal) && found.len == 0, "nothing to flush");
    nm_samples_free(&found);
}

static void check_time(const char *text, uint64_t expected) {
    uint64_t found = 0;
    NM_CHECK(nm_test_nanoseconds(nm_text_of(text), &found) && found == expected, "%s: %llu", text,
             (unsigned long long)found);
}

static void times_are_read(void) {
    check_time("1970-01-01T00:00:00Z", 0);
    check_time("2024-02-29T12:00:00.25+01:30", UINT64_C(1709202600250000000));
    check_time("2026-03-01T10:00:00", UINT64_C(1772359200000000000));
    uint64_t found;
    NM_CHECK(!nm_test_nanoseconds(nm_text_of("2026-13-01T10:00:00"), &found), "month 13");
    NM_CHECK(!nm_test_nanoseconds(nm_text_of("2026-03-01"), &found), "no time");
}

int main(void) {
    a_complaint_is_one_line();
    every_error_has_the_pointer_of_its_key();
    check_log("warn: unknown option /e is ignored");
    json_is_written_as_it_was_read();
    escapes_are_read();
    malformed_json_is_refused();
    depth_has_a_limit();
    numbers_survive_a_round_trip();
    values_are_compared();
    rows_have_their_entries();
    own_entries_are_numbered_by_content();
    only_rows_in_order_are_derived();
    own_entries_are_sent_once();
    entries_of_a_dropped_answer_are_sent_with_the_next();
    too_many_entries_are_replaced();
    too_large_entries_are_replaced();
    rows_have_exact_integers();
    answers_have_exact_integers();
    a_cache_detects_another_entry_under_a_number();
    the_bridge_keeps_and_refuses();
    times_are_read();
    return nm_test_result();
}
