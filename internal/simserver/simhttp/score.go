package simhttp

import (
	"encoding/json"
)

// The endpoints that read texts and write none. To the server they are a prefill of
// all their texts and one token.
var (
	embeddings = protocol{wire: scored{embeddingAnswer}, fixed: true, scores: true, needsModel: true, id: "embd-"}
	rerank     = protocol{wire: scored{rerankAnswer}, fixed: true, scores: true, needsModel: true, id: "rerank-"}
	teiRerank  = protocol{wire: scored{teiAnswer}, fixed: true, scores: true, id: "rerank-"}
)

// textIDs returns the tokens of all texts, and how many texts there are. A ranking
// reads its query with every document.
func (b *body) textIDs() (ids []uint32, texts int) {
	var one string
	var list []string
	if json.Unmarshal(b.Input, &one) == nil && one != "" {
		list = []string{one}
	} else if json.Unmarshal(b.Input, &list) != nil {
		list = nil
	}
	list = append(append(list, b.Documents...), b.Texts...)
	for _, text := range list {
		ids = append(ids, beginToken)
		ids = tokenIDs(ids, b.Query)
		ids = tokenIDs(ids, text)
	}
	return ids, len(list)
}

// scored is the wire of an answer that never streams.
type scored struct{ answer func(st *stream) any }

func (scored) media() string       { return "application/json" }
func (scored) head(*stream)        {}
func (scored) tokens(*stream, int) {}
func (scored) tail(*stream)        {}

func (scored) failure(msg string) string { return openai{}.failure(msg) }

func (c scored) plain(st *stream) []byte {
	b, err := json.Marshal(c.answer(st))
	if err != nil {
		panic(err) // it is made here, of plain types
	}
	return b
}

// dimensions is the length of an embedding: enough to be one, and cheap to send.
const dimensions = 64

func embeddingAnswer(st *stream) any {
	data := make([]object, st.ask.texts)
	for i := range data {
		v := make([]float64, dimensions)
		for k := range v {
			v[k] = float64((int(st.key)*31+i*7+k)%200-100) / 100
		}
		data[i] = object{"object": "embedding", "index": i, "embedding": v}
	}
	return object{"object": "list", "data": data, "model": st.s.cfg.Model, "usage": st.usage()}
}

func (st *stream) usage() object {
	return object{"prompt_tokens": st.job.Prompt, "total_tokens": st.job.Prompt}
}

// score is of document i; they differ, and the order is known.
func (st *stream) score(i int) float64 { return 1 / float64(i+1) }

func rerankAnswer(st *stream) any {
	results := make([]object, st.ask.texts)
	for i := range results {
		results[i] = object{"index": i, "relevance_score": st.score(i)}
	}
	return object{"id": st.id, "model": st.s.cfg.Model, "usage": st.usage(), "results": results}
}

func teiAnswer(st *stream) any {
	results := make([]object, st.ask.texts)
	for i := range results {
		results[i] = object{"index": i, "score": st.score(i)}
	}
	return results
}
