package nephometer

// Description is what a component tells about itself, whatever its options are.
type Description struct {
	Name    string
	Version string
	Summary string
	// JSON Schema (2020-12) of the options; empty if anything goes.
	OptionsSchema string
	// Version of the format that Save writes; 0 if it keeps no state.
	StateVersion uint32
	Facts        map[string]string
}

// Settings is what a configured component wants to be given: all meters and no metadata, if left out.
type Settings struct {
	// Globs of meter names; rows of others pass by, uncopied.
	Meters []string
	// Paths into the metadata.
	Metadata []string
	Facts    map[string]string
}

// Outcome is what becomes of a batch: Unchanged, Keep or an *Answer.
type Outcome interface {
	outcome()
}

type unchanged struct{}

// Unchanged says that all rows pass as they are.
var Unchanged Outcome = unchanged{}

// Keep says that these rows pass as they are and the others are absorbed: row numbers, ascending.
type Keep []uint32

func (unchanged) outcome() {}
func (Keep) outcome()      {}
func (*Answer) outcome()   {}

// Rejected is the reason why this input cannot be worked on; the next one may. It is about a whole batch.
type Rejected string

// Broken is the reason why no input can be worked on until someone acts.
type Broken string

// StateError is the reason why the state cannot be saved, or is none that this component reads.
type StateError string

// Error gives the reason.
func (r Rejected) Error() string { return string(r) }

// Error gives the reason.
func (b Broken) Error() string { return string(b) }

// Error gives the reason.
func (s StateError) Error() string { return string(s) }

// Transformer takes batches in and gives batches out.
//
// It is made by a function that reads the options and gives what OptionReader.Check gives. A panic,
// or an error of other types than those named here, ends the instance; its text is logged.
type Transformer interface {
	// Settings is asked for once, after the options were read.
	Settings() Settings
	// Transform says what becomes of a batch. Its errors are Rejected and Broken.
	Transform(batch *Batch) (Outcome, error)
}

// Stateful is a Transformer that remembers.
type Stateful interface {
	Transformer
	// Flush is called after all batches of a tick, and may give nil. now is the only clock there is.
	// Its errors are Rejected and Broken.
	Flush(now uint64) (*Answer, error)
	// Save gives the whole state, in the format of Description.StateVersion. Its error is StateError.
	Save() ([]byte, error)
	// Restore takes up what an earlier instance saved, before any batch. Its error is StateError.
	Restore(version uint32, state []byte) error
}
