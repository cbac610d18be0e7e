package nephometer

// Description is what a component reports about itself, whatever its options are.
type Description struct {
	Name    string
	Version string
	Summary string
	// JSON Schema (2020-12) of the options; empty to accept any.
	OptionsSchema string
	// Version of the format that Save writes; 0 without state.
	StateVersion uint32
	Facts        map[string]string
}

// Settings is what a configured component requires: all meters and no metadata by default.
type Settings struct {
	// Globs of meter names; rows of other meters bypass the component.
	Meters []string
	// Paths into the metadata.
	Metadata []string
	// Texts that a publisher gets with each row: none by default.
	Texts Texts
	Facts map[string]string
}

// Outcome is what replaces a batch: Unchanged, Keep or an *Answer.
type Outcome interface {
	outcome()
}

type unchanged struct{}

// Unchanged keeps all rows as they are.
var Unchanged Outcome = unchanged{}

// Keep keeps these rows as they are and drops all others: row numbers, ascending.
type Keep []uint32

func (unchanged) outcome() {}
func (Keep) outcome()      {}
func (*Answer) outcome()   {}

// Rejected is the reason why this batch cannot be transformed, or this envelope never delivered; the
// next one may. Rows of a batch are dropped, an envelope becomes a dead letter.
type Rejected string

// Broken is the reason why nothing can be transformed or delivered until an operator acts.
type Broken string

// StateError is the reason why the state cannot be saved or restored.
type StateError string

// Error returns the reason.
func (r Rejected) Error() string { return string(r) }

// Error returns the reason.
func (b Broken) Error() string { return string(b) }

// Error returns the reason.
func (s StateError) Error() string { return string(s) }

// Transformer transforms batches.
//
// It is built by a function that reads the options and returns the error of OptionReader.Check. A
// panic, or an error of other types than those named here, ends the instance; its text is logged.
type Transformer interface {
	// Settings is called once, after the options were read.
	Settings() Settings
	// Transform returns what replaces a batch. Its errors are Rejected and Broken.
	Transform(batch *Batch) (Outcome, error)
}

// Stateful is a Transformer with state.
type Stateful interface {
	Transformer
	// Flush is called after all batches of a polling cycle, and may return nil. now, the time of
	// the cycle, is the only clock. Its errors are Rejected and Broken.
	Flush(now uint64) (*Answer, error)
	// Save returns the whole state, in the format of Description.StateVersion, without numbers of
	// the dictionary. Its error is StateError.
	Save() ([]byte, error)
	// Restore restores the state that an earlier instance saved, before any batch. Its error is
	// StateError.
	Restore(version uint32, state []byte) error
}
