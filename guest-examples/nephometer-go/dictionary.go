package nephometer

// Numbered is a meter or a resource with its number.
type Numbered[E any] struct {
	Number uint32
	Entry  *E
}

// Changes are changes to a dictionary. Entries are removed first, then added.
type Changes struct {
	ForgottenMeters    []uint32
	ForgottenResources []uint32
	Meters             []Numbered[Meter]
	Resources          []Numbered[Resource]
}

// Dictionary holds the meters and resources that batches refer to by number.
//
// The host assigns small numbers and reuses those of forgotten entries. An entry has one address
// for as long as its number stands for it, and is never modified: another pointer under the same
// number is another entry. A [Cache] compares them.
type Dictionary struct {
	meters    []*Meter
	resources []*Resource
}

// Meter returns the meter with a number; nil if there is none.
func (d *Dictionary) Meter(number uint32) *Meter { return entry(d.meters, number) }

// Resource returns the resource with a number; nil if there is none.
func (d *Dictionary) Resource(number uint32) *Resource { return entry(d.resources, number) }

// Learn applies changes. nephometer/export and nephometertest call it.
func (d *Dictionary) Learn(changes Changes) {
	d.meters = applied(d.meters, changes.ForgottenMeters, changes.Meters)
	d.resources = applied(d.resources, changes.ForgottenResources, changes.Resources)
}

func entry[E any](entries []*E, number uint32) *E {
	if int64(number) < int64(len(entries)) {
		return entries[number]
	}
	return nil
}

func applied[E any](entries []*E, forgotten []uint32, added []Numbered[E]) []*E {
	for _, number := range forgotten {
		entries[number] = nil
	}
	for _, one := range added {
		if missing := int(one.Number) + 1 - len(entries); missing > 0 {
			entries = append(entries, make([]*E, missing)...)
		}
		entries[one.Number] = one.Entry
	}
	return entries
}

// Cache keeps one value per meter or resource of the dictionary, so that it is computed once per
// entry instead of once per row. It computes the value again when a number stands for another
// entry.
type Cache[E, V any] struct {
	compute func(*E) V
	values  []cached[E, V]
}

type cached[E, V any] struct {
	entry *E
	value V
}

// NewCache returns an empty cache of what compute returns.
func NewCache[E, V any](compute func(entry *E) V) *Cache[E, V] {
	return &Cache[E, V]{compute: compute}
}

// Of returns the value of an entry: cache.Of(row.ResourceNumber, row.Resource).
func (c *Cache[E, V]) Of(number uint32, entry *E) V {
	if int64(number) >= int64(len(c.values)) {
		c.values = append(c.values, make([]cached[E, V], int(number)+1-len(c.values))...)
	}
	found := &c.values[number]
	if found.entry != entry {
		*found = cached[E, V]{entry, c.compute(entry)}
	}
	return found.value
}
