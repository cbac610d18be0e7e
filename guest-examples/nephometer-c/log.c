// The log of the component.

#include "nephometer.h"

static void send(nm_level level, nm_writer *line) {
    nm_text text = nm_written(line);
    nephometer_metering_log_write((nephometer_metering_log_level_t)level, &text);
    stateful_transformer_string_free(&text);
}

void nm_log(nm_level level, const char *format, ...) {
    nm_writer line = {0};
    va_list arguments;
    va_start(arguments, format);
    nm_print_list(&line, format, arguments);
    va_end(arguments);
    send(level, &line);
}

nm_complaint nm_complaint_that(nm_level level, const char *what) {
    return (nm_complaint){.level = level, .what = what};
}

void nm_complaint_add(nm_complaint *complaint, const nm_row *row, const char *format, ...) {
    if (complaint->rows++)
        return;
    nm_writer *first = &complaint->first;
    nm_write_text(first, row->meter->name);
    nm_write(first, " of ");
    nm_write_text(first, row->resource->id);
    nm_write(first, ": ");
    va_list arguments;
    va_start(arguments, format);
    nm_print_list(first, format, arguments);
    va_end(arguments);
}

void nm_complaint_write(nm_complaint *complaint) {
    if (complaint->rows == 0)
        return;
    nm_writer line = {0};
    nm_print(&line, "%s: ", complaint->what);
    nm_write_bytes(&line, complaint->first.bytes, complaint->first.len);
    if (complaint->rows > 1)
        nm_print(&line, ", and %zu more", complaint->rows - 1);
    send(complaint->level, &line);
    nm_writer_free(&complaint->first);
    complaint->rows = 0;
}
