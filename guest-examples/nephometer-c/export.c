// The exported functions of the world, which call the transformer.
//
// One instance of a component serves one place in a pipeline, so there is one transformer.
// Arguments are freed here; results are freed by the generated code after the host has copied them.

#include "entries.h"

static void *configured;

void exports_nephometer_metering_component_describe(
    exports_nephometer_metering_component_description_t *ret) {
    const nm_transformer *one = &nephometer_transformer;
    *ret = (exports_nephometer_metering_component_description_t){
        .name = nm_text_copy(nm_text_of(one->name)),
        .version = nm_text_copy(nm_text_of(one->version)),
        .summary = nm_text_copy(nm_text_of(one->summary)),
        .options_schema = nm_text_copy(nm_text_of(one->options_schema)),
        .state_version = one->state_version,
    };
}

static stateful_transformer_list_string_t copy_of(const char *const *strings) {
    stateful_transformer_list_string_t list = {NULL, 0};
    size_t capacity = 0;
    for (; strings && *strings; strings++) {
        list.ptr = nm_reserve(list.ptr, list.len, &capacity, sizeof *list.ptr);
        list.ptr[list.len++] = nm_text_copy(nm_text_of(*strings));
    }
    return list;
}

static void *make(nm_text options, nm_settings *settings, nm_option_list *errors) {
    nm_json value;
    bool read = nm_json_read(options, &value);
    nm_options reader = nm_options_of(&value, errors);
    void *transformer = NULL;
    if (read)
        transformer = nephometer_transformer.make(&reader, settings);
    else
        nm_options_refuse(&reader, "is not JSON");
    nm_json_free(&value);
    return transformer;
}

bool exports_nephometer_metering_component_configure(
    nm_text *options, exports_nephometer_metering_component_settings_t *ret,
    nm_option_errors *err) {
    nm_settings settings = {NULL, NULL};
    nm_option_list errors = {0};
    void *transformer = make(*options, &settings, &errors);
    stateful_transformer_string_free(options);
    void *obsolete = errors.list.len ? transformer : configured;
    if (obsolete)
        nephometer_transformer.drop(obsolete);
    if (errors.list.len) {
        *err = errors.list;
        return false;
    }
    configured = transformer;
    nm_dictionary_clear();
    nm_own_clear();
    *ret = (exports_nephometer_metering_component_settings_t){
        .meters = copy_of(settings.meters),
        .metadata = copy_of(settings.metadata),
        .texts = EXPORTS_NEPHOMETER_METERING_COMPONENT_TEXT_FORM_NONE,
    };
    return true;
}

static const char NOT_CONFIGURED[] = "called before it was configured";

void exports_nephometer_metering_dictionary_learn(
    exports_nephometer_metering_dictionary_changes_t *what) {
    nm_dictionary_change(what);
}

// Adds the new entries to an outcome that the host gets.
static void send_entries(nm_outcome *outcome) {
    if (outcome->tag == EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_DERIVE) {
        outcome->val.derive.meters = nm_own_send_meters();
    } else if (outcome->tag == EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_REPLACE) {
        outcome->val.replace.meters = nm_own_send_meters();
        outcome->val.replace.resources = nm_own_send_resources();
    }
}

bool exports_nephometer_metering_transform_transform(nm_batch *input, nm_outcome *ret,
                                                     nm_refusal *err) {
    ret->tag = EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_UNCHANGED;
    nm_own_begin();
    bool done = configured ? nephometer_transformer.transform(configured, input, ret, err)
                           : nm_broken(err, NOT_CONFIGURED);
    exports_nephometer_metering_transform_batch_free(input);
    if (done)
        send_entries(ret);
    else
        exports_nephometer_metering_transform_outcome_free(ret);
    return done;
}

bool exports_nephometer_metering_stateful_flush(uint64_t now, nm_maybe_answer *ret,
                                                nm_refusal *err) {
    ret->is_some = false;
    if (!configured)
        return nm_broken(err, NOT_CONFIGURED);
    if (!nephometer_transformer.flush)
        return true;
    nm_own_begin();
    bool done = nephometer_transformer.flush(configured, now, ret, err);
    if (!done) {
        exports_nephometer_metering_stateful_option_answer_free(ret);
    } else if (ret->is_some) {
        ret->val.meters = nm_own_send_meters();
        ret->val.resources = nm_own_send_resources();
    }
    return done;
}

bool exports_nephometer_metering_stateful_save(nm_bytes *ret, nm_text *err) {
    if (!configured)
        return nm_state_error(err, NOT_CONFIGURED);
    nm_writer state = {0};
    if (nephometer_transformer.save && !nephometer_transformer.save(configured, &state, err)) {
        nm_writer_free(&state);
        return false;
    }
    nm_text text = nm_written(&state);
    *ret = (nm_bytes){text.ptr, text.len};
    return true;
}

bool exports_nephometer_metering_stateful_restore(uint32_t version, nm_bytes *state, nm_text *err) {
    nm_text text = {state->ptr, state->len};
    bool done = true;
    if (!configured)
        done = nm_state_error(err, NOT_CONFIGURED);
    else if (nephometer_transformer.restore)
        done = nephometer_transformer.restore(configured, version, text, err);
    stateful_transformer_list_u8_free(state);
    return done;
}

static nm_text printed(const char *format, va_list arguments) {
    nm_writer writer = {0};
    nm_print_list(&writer, format, arguments);
    return nm_written(&writer);
}

bool nm_rejected(nm_refusal *refusal, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    refusal->tag = EXPORTS_NEPHOMETER_METERING_TRANSFORM_REFUSAL_REJECTED;
    refusal->val.rejected = printed(format, arguments);
    va_end(arguments);
    return false;
}

bool nm_broken(nm_refusal *refusal, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    refusal->tag = EXPORTS_NEPHOMETER_METERING_TRANSFORM_REFUSAL_BROKEN;
    refusal->val.broken = printed(format, arguments);
    va_end(arguments);
    return false;
}

bool nm_state_error(nm_text *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    *error = printed(format, arguments);
    va_end(arguments);
    return false;
}
