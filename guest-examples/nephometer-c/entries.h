// Between export.c, dictionary.c, own.c and answer.c. Authors do not need it.

#ifndef NEPHOMETER_ENTRIES_H
#define NEPHOMETER_ENTRIES_H

#include "nephometer.h"

// dictionary.c: the host's entries.

// Takes over the entries of a call from the host.
void nm_dictionary_change(exports_nephometer_metering_dictionary_changes_t *changes);
// Forgets all entries, for a new instance.
void nm_dictionary_clear(void);

// own.c: the transformer's own entries, numbered by content.

// Makes room before a call if there are too many. Numbers start again, and the host replaces its
// entries.
void nm_own_begin(void);
// Forgets all entries, for a new instance.
void nm_own_clear(void);
uint32_t nm_own_meter(const nm_meter *meter);
uint32_t nm_own_resource(const nm_resource *resource);
// Copies the entries that the host does not have yet. Call these only for an answer that the host
// gets: they count as sent.
exports_nephometer_metering_transform_list_numbered_meter_t nm_own_send_meters(void);
exports_nephometer_metering_transform_list_numbered_resource_t nm_own_send_resources(void);

#endif
