package nephometer

import "sync"

// The component's own meters and resources. Their numbers count up from firstOwn, and each entry is
// sent to the host once. A component is one instance, so there is one set of them. A set that has
// grown too large is replaced by a new one, and the host replaces the entries as they are sent
// again.

const firstOwn uint32 = 0x80000000

// A new set begins below the limits of the contract, so that one more answer fits.
const (
	maxOwnMeters    = 8_000
	maxOwnResources = 25_000
	maxOwnText      = 16 << 20 // bytes
)

type ownEntries struct {
	// Tests may run in parallel.
	lock      sync.Mutex
	meters    numbering[Meter, Meter]
	resources numbering[resourceKey, Resource]
	text      int
}

var instance struct {
	lock sync.Mutex
	own  *ownEntries
}

// ownForAnswer returns the entries for a new answer.
func ownForAnswer() *ownEntries {
	instance.lock.Lock()
	defer instance.lock.Unlock()
	if instance.own == nil || instance.own.full() {
		instance.own = &ownEntries{
			meters:    numbering[Meter, Meter]{numbers: map[Meter]uint32{}},
			resources: numbering[resourceKey, Resource]{numbers: map[resourceKey]uint32{}},
		}
	}
	return instance.own
}

func (o *ownEntries) full() bool {
	o.lock.Lock()
	defer o.lock.Unlock()
	return len(o.meters.entries) > maxOwnMeters || len(o.resources.entries) > maxOwnResources || o.text > maxOwnText
}

func (o *ownEntries) meter(meter Meter) uint32 {
	o.lock.Lock()
	defer o.lock.Unlock()
	if number, known := o.meters.numbers[meter]; known {
		return number
	}
	o.text += len(meter.Name) + len(meter.Unit)
	// The parameter itself would be allocated by every call.
	kept := meter
	return o.meters.add(kept, &kept)
}

func (o *ownEntries) resource(resource *Resource) uint32 {
	key := resource.key()
	o.lock.Lock()
	defer o.lock.Unlock()
	if number, known := o.resources.numbers[key]; known {
		return number
	}
	o.text += len(key.id) + len(key.source) + len(key.project) + len(key.user) + len(key.metadata)
	// A copy, because the author may modify the original; without the decoded metadata.
	kept := *resource
	return o.resources.add(key, kept.WithMetadataText(key.metadata))
}

func (o *ownEntries) unsentMeters() []Numbered[Meter] {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.meters.unsent()
}

func (o *ownEntries) unsentResources() []Numbered[Resource] {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.resources.unsent()
}

func (o *ownEntries) markSent(answer *Answer) {
	o.lock.Lock()
	defer o.lock.Unlock()
	o.meters.markSent(answer.Meters)
	o.resources.markSent(answer.Resources)
}

// numbering numbers entries by content, in the order in which they are first asked for.
type numbering[K comparable, E any] struct {
	numbers map[K]uint32
	entries []Numbered[E]
	// The number of entries that the host has received.
	sent int
}

func (n *numbering[K, E]) add(key K, entry *E) uint32 {
	number := firstOwn + uint32(len(n.entries))
	n.numbers[key] = number
	n.entries = append(n.entries, Numbered[E]{number, entry})
	return number
}

func (n *numbering[K, E]) unsent() []Numbered[E] {
	return n.entries[n.sent:len(n.entries):len(n.entries)]
}

func (n *numbering[K, E]) markSent(handed []Numbered[E]) {
	if last := len(handed) - 1; last >= 0 {
		n.sent = max(n.sent, int(handed[last].Number-firstOwn)+1)
	}
}
