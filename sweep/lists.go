package sweep

import (
	"encoding/json"

	"github.com/capfind/capfind/loadgen"
)

// MarshalJSON writes a list or a map that holds nothing as [] or {}, never as
// null.
func (r Result) MarshalJSON() ([]byte, error) {
	type plain Result // without this method
	return json.Marshal(loadgen.WithLists(plain(r)))
}
