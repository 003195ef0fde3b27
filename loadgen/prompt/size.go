package prompt

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// Sizer turns a number of tokens into a number of words, for one model and one
// kind of request: tokens = Overhead + PerWord x words. The zero value is one
// token a word, which is close for English words and most tokenizers.
type Sizer struct {
	PerWord  float64 // tokens a word; 0 means 1
	Overhead float64 // tokens a prompt has beside its words: chat template, begin mark
}

func (s Sizer) perWord() float64 {
	if s.PerWord <= 0 {
		return 1
	}
	return s.PerWord
}

// words returns how many words make that many tokens. A fraction of a word is
// rounded at random, so that the mean length is right also where a word is
// several tokens.
func (s Sizer) words(tokens int, r *rand.Rand) int {
	exact := (float64(tokens) - s.Overhead) / s.perWord()
	if whole := math.Round(exact); math.Abs(exact-whole) < 1e-3 {
		return max(0, int(whole))
	}
	return max(0, int(math.Floor(exact+r.Float64())))
}

// Calibration is what Calibrate found out.
type Calibration struct {
	Asked  int     // mean prompt length asked for, in tokens
	Mean   float64 // mean length that the server counted in the end
	Probes int     // texts that the server counted
	Within bool    // Mean is within Tolerance of Asked, or no further off than chance explains
}

// Tolerance is how close the mean prompt length has to come to what was asked.
const Tolerance = 0.02

// Counter asks the server how many tokens a prompt of that text has.
type Counter func(ctx context.Context, text string) (tokens int, err error)

const (
	calibrationRounds = 12
	calibrationWords  = 600 // counted per round, over 3 to 16 prompts
	correctionPrompts = 12  // before a deviation counts as one: fewer are too few for a standard error
	// calibrationFirst is the number of the first prompt that is counted: far
	// beyond those of any run, so that no request repeats a counted prompt.
	calibrationFirst = 1 << 30
)

// Calibrate finds the Sizer for c's prompts by having the server count texts.
//
// The whole word list is counted twice, in 4 and in 16 pieces, each word once:
// what the two sums share is the words', what differs the overhead. No word is
// left to chance, so the result is exact for a tokenizer that looks at words one
// by one. Then prompts of the length asked for are counted until their mean is
// within Tolerance, and the overhead is corrected where they are off by more than
// chance explains. Where the length cannot be reached (a chat template that is
// longer than the prompt asked for, say), the best Sizer found is returned and
// Within is false. A data set of given texts needs no Sizer.
func Calibrate(ctx context.Context, c Config, count Counter) (Sizer, Calibration, error) {
	if !c.Generated() {
		return Sizer{}, Calibration{Within: true}, nil
	}
	c.Batch = 1 // each text of a request has the length asked for
	p := prober{ctx: ctx, count: count}
	asked := c.InputLen
	if c.Dataset == SharedPrefix {
		asked += c.PrefixLen
	}
	p.Asked = asked
	size, err := p.wordList()
	for round := 0; err == nil && round < calibrationRounds; round++ {
		if err = p.check(size, c); err != nil || p.Within {
			break
		}
		if size.Overhead+size.PerWord > float64(asked) {
			break // even one word is too long
		}
		p.correct(&size)
	}
	if err != nil {
		return Sizer{}, p.Calibration, err
	}
	p.Within = p.Within || p.off.n > 0 && !p.significant(2)
	return size, p.Calibration, nil
}

// prober has texts counted.
type prober struct {
	Calibration
	ctx   context.Context
	count Counter
	off   spread // of the prompts counted with the current Sizer
}

// spread sums up what it takes for a mean and its standard error.
type spread struct{ n, sum, squares float64 }

func (s *spread) add(x float64) { s.n, s.sum, s.squares = s.n+1, s.sum+x, s.squares+x*x }

func (s *spread) mean() float64 { return s.sum / s.n }

func (s *spread) standardError() float64 {
	variance := (s.squares - s.sum*s.sum/s.n) / (s.n - 1)
	return math.Sqrt(max(0, variance) / s.n)
}

func (p *prober) probe(text string) (float64, error) {
	tokens, err := p.count(p.ctx, text)
	if err == nil && tokens < 1 {
		err = fmt.Errorf("the server says %d", tokens)
	}
	if err != nil {
		return 0, fmt.Errorf("counting the tokens of a prompt of %d bytes: %w", len(text), err)
	}
	p.Probes++
	return float64(tokens), nil
}

// wordList has the word list counted in 4 and in 16 pieces.
func (p *prober) wordList() (Sizer, error) {
	const few, many = 4, 16
	var sums [2]float64
	for k, pieces := range []int{few, many} {
		for piece := range slices.Chunk(words, len(words)/pieces) {
			tokens, err := p.probe(strings.Join(piece, " "))
			if err != nil {
				return Sizer{}, err
			}
			sums[k] += tokens
		}
	}
	overhead := (sums[1] - sums[0]) / (many - few)
	perWord := (sums[0] - few*overhead) / float64(len(words))
	if !(perWord > 0.5) { // no tokenizer does that: the prompts were cut short
		perWord, overhead = 1, 0
	}
	return Sizer{PerWord: perWord, Overhead: overhead}, nil
}

// check has a round of prompts counted.
func (p *prober) check(size Sizer, c Config) error {
	source := newGenerated(c, size)
	for range min(max(3, calibrationWords/p.Asked), 16) {
		request, err := source.Request(calibrationFirst + p.Probes)
		if err != nil {
			return err
		}
		tokens, err := p.probe(request.Text)
		if err != nil {
			return err
		}
		p.off.add(tokens - float64(request.PromptTokens))
	}
	p.Mean = float64(p.Asked) + p.off.mean()
	p.Within = math.Abs(p.off.mean()) <= Tolerance*float64(p.Asked)
	return nil
}

// significant reports whether the mean is off by more than so many standard
// errors.
func (p *prober) significant(errors float64) bool {
	return math.Abs(p.off.mean()) > errors*p.off.standardError()
}

// correct takes out what the prompts are off by. Of chance there is nothing to
// take out: the word list was counted whole.
func (p *prober) correct(size *Sizer) {
	if p.off.n < correctionPrompts || !p.significant(4) {
		return
	}
	// A correction by more than half would chase a server that cuts prompts.
	most := float64(p.Asked) / 2
	size.Overhead += min(max(p.off.mean(), -most), most)
	p.off = spread{}
}
