// The library by itself; what answers a batch here keeps every other row.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nephometer_test.h"

static void *make(const nm_options *options, nm_settings *settings) {
    static const char *const metadata[] = {"flavor", NULL};
    settings->metadata = metadata;
    nm_text word;
    nm_options_text(options, "word", &word);
    return nm_resize(NULL, 1, 1);
}

static bool transform(void *self, const nm_batch *batch, nm_outcome *outcome, nm_refusal *refusal) {
    (void)self;
    if (batch->gone.len)
        return nm_rejected(refusal, "%zu are gone", batch->gone.len);
    uint32_t rows[16];
    size_t len = 0;
    nm_rows all = nm_rows_of(batch);
    for (nm_row row; nm_rows_next(&all, &row);)
        if (row.number % 2 == 0)
            rows[len++] = row.number;
    nm_keep(outcome, rows, len);
    return true;
}

const nm_transformer nephometer_transformer = {
    .name = "other",
    .version = "1",
    .summary = "every other row",
    .options_schema = "",
    .make = make,
    .drop = free,
    .transform = transform,
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

static void what_is_no_json_is_refused(void) {
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

static void numbers_come_back(void) {
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
    nm_batch made = nm_test_batch(&samples, NULL);
    nm_json_free(&samples);
    return made;
}

static void rows_look_their_entries_up(void) {
    nm_batch input = batch();
    nm_rows rows = nm_rows_of(&input);
    nm_row row;
    NM_CHECK(nm_rows_next(&rows, &row) && row.number == 0 && row.time == 1500000000, "the first");
    NM_CHECK(nm_text_is(row.meter->name, "cpu") && row.monotonic == 0 && row.volume == 3, "it");
    NM_CHECK(nm_rows_next(&rows, &row) && row.meter_index == 1 && row.resource_index == 0, "one");
    nm_json metadata;
    NM_CHECK(nm_resource_metadata(row.resource, &metadata), "metadata");
    NM_CHECK(nm_json_get(nm_json_get(&metadata, "flavor"), "vcpus")->number == 2, "2");
    nm_json_free(&metadata);
    NM_CHECK(!nm_rows_next(&rows, &row), "there are two");
    nephometer_metering_types_batch_free(&input);
}

static void numbers_go_on_from_the_inputs_and_follow_content(void) {
    nm_batch input = batch();
    nm_answer_builder builder = nm_answer_to(&input);
    nm_meter util = {nm_text_of("cpu_util"), nm_text_of("%"), NM_GAUGE}, other = util;
    other.unit = nm_text_of("1");
    NM_CHECK(nm_answer_meter(&builder, &input.meters.ptr[0]) == 0, "the input's");
    NM_CHECK(nm_answer_meter(&builder, &util) == 2, "a new one");
    NM_CHECK(nm_answer_meter(&builder, &other) == 3, "another");
    NM_CHECK(nm_answer_meter(&builder, &util) == 2, "the same again");
    nm_resource same = input.resources.ptr[0], owned = same;
    same.metadata = nm_text_of(" {\"flavor\" : {\"vcpus\" : 2.0}}");
    owned.project_id = (stateful_transformer_option_string_t){true, {NULL, 0}};
    NM_CHECK(nm_answer_resource(&builder, &same) == 0, "equal metadata");
    NM_CHECK(nm_answer_resource(&builder, &owned) == 1, "no project is not an empty one");
    NM_CHECK(nm_answer_resource(&builder, &owned) == 1, "the same again");
    for (uint32_t number = 0; number < 1000; number++) {
        nm_text name = nm_text_print("m%u", (unsigned)number);
        nm_meter many = {name, {NULL, 0}, NM_GAUGE};
        NM_CHECK(nm_answer_meter(&builder, &many) == number + 4, "many");
        stateful_transformer_string_free(&name);
    }
    nm_rows rows = nm_rows_of(&input);
    nm_row row;
    nm_rows_next(&rows, &row);
    nm_answer_keep(&builder, &row);
    nm_answer_derive(&builder, &row, 2, 3.5);
    nm_answer_create(&builder, 2, 1, 9, 4.5);
    nm_answer answer = nm_answer_finish(&builder);
    NM_CHECK(answer.volume.len == 3 && answer.origin.ptr[2] == NM_NO_ORIGIN, "three rows");
    NM_CHECK(answer.meter.ptr[0] == 0 && answer.meter.ptr[1] == 2, "their meters");
    NM_CHECK(answer.meters.len == 1002 && answer.resources.len == 1, "new entries");
    exports_nephometer_metering_transform_answer_free(&answer);
    nm_answer_drop(&builder);
    nephometer_metering_types_batch_free(&input);
}

static void every_wrong_key_is_named_with_its_place(void) {
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
        {"/a~1b/x", "is a number; it has to be a text"},
        {"/c", "is a list; it has to be a mapping of keys to values"},
        {"/c/0", "is a number; it has to be a mapping of keys to values"},
        {"/d", "is a text; it has to be a number"},
        {"/e", "is true or false; it has to be a number"},
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

static void there_is_one_line(void) {
    nm_batch input = batch();
    nm_complaint complaint = nm_complaint_that(NM_WARN, "dropping");
    nm_complaint_write(&complaint);
    nm_rows rows = nm_rows_of(&input);
    for (nm_row row; nm_rows_next(&rows, &row);)
        nm_complaint_add(&complaint, &row, "too %s", "late");
    nm_complaint_write(&complaint);
    check_log("warn: dropping: cpu of r: too late, and 1 more");
    nephometer_metering_types_batch_free(&input);
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
    nm_batch gone = batch();
    gone.gone = (stateful_transformer_list_string_t){nm_resize(NULL, 1, sizeof(nm_text)), 1};
    *gone.gone.ptr = nm_text_copy(nm_text_of("r"));
    NM_CHECK(!nm_test_transform(gone, &found, &refusal), "refused");
    NM_CHECK(nm_text_is(refusal.val.rejected, "1 are gone"), "why");
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
    there_is_one_line();
    every_wrong_key_is_named_with_its_place();
    check_log("warn: option /e is not known here and has no effect");
    json_is_written_as_it_was_read();
    escapes_are_read();
    what_is_no_json_is_refused();
    depth_has_a_limit();
    numbers_come_back();
    values_are_compared();
    rows_look_their_entries_up();
    numbers_go_on_from_the_inputs_and_follow_content();
    the_bridge_keeps_and_refuses();
    times_are_read();
    return nm_test_result();
}
