package simserver

// Fault is misbehaviour on the wire.
type Fault struct {
	Mode string `yaml:"mode" json:"mode"`
}

func (f Fault) validate(prefix string, v *problems) {}
