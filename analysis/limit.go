package analysis

// Limit is the largest concurrency that still meets a criterion.
type Limit struct {
	Concurrency Number `json:"concurrency"`
	Low         Number `json:"low"`        // of the confidence interval, or of the bracket
	High        Number `json:"high"`       // likewise
	Confidence  Number `json:"confidence"` // share of 1, e.g. 0.95; null where low and high are only a bracket of ladder steps
	BoundBy     string `json:"bound_by"`   // success_rate, ttft, throughput_gain, resources, or an SLO's name
	AtLeast     Number `json:"at_least"`   // largest concurrency that met the criterion, where no limit was reached
	Note        string `json:"note"`       // e.g. why it cannot be resolved further; empty when all is said
}

// Reached reports whether the criterion's limit was found.
func (l Limit) Reached() bool { return l.Concurrency.IsKnown() }

// Band is the share of the limit that production should be set to.
type Band struct {
	Low  float64 `yaml:"low" json:"low"`   // share of the limit, lower end of the band
	High float64 `yaml:"high" json:"high"` // share of the limit, upper end of the band
}
