package nephometer

// Texts are the texts that a publisher gets with each row.
type Texts string

// The forms of the contract; an empty one is none.
const (
	TextsNone     Texts = "none"
	TextsSamples  Texts = "samples"  // JSON objects with the keys of Ceilometer's samples.
	TextsMessages Texts = "messages" // Signed metering messages, as JSON objects.
)

// Delivery is one envelope.
type Delivery struct {
	// The same on every attempt, so that a receiver can drop repetitions.
	ID string
	// 1 on the first attempt.
	Attempt uint32
	// The samples; Rows iterates over them. The entries belong to this delivery alone.
	Batch *Batch
	// One text per row, if the settings ask for them.
	Texts []string
}

// RetryLater is a failure that may pass: the envelope is kept and sent again, with the same id.
type RetryLater struct {
	Reason string
	// The delay that the receiver requested, in milliseconds; the host chooses if it is nil.
	AfterMS *uint64
}

// Error returns the reason.
func (r RetryLater) Error() string { return r.Reason }

// Publisher sends envelopes of samples. The host queues, keeps the order and retries; a publisher
// does none of these.
//
// It is built by a function that reads the options and returns the error of URLOptions.Check. A
// panic, or an error of other types than those named here, ends the instance; its text is logged.
type Publisher interface {
	// Settings is called once, after the options were read.
	Settings() Settings
	// Publish sends one envelope; nil acknowledges it: the receiver has it. Its errors are
	// RetryLater, Rejected (this envelope can never be delivered) and Broken (none can, until an
	// operator acts).
	Publish(delivery *Delivery) error
}
