package checkpoint

// Prompt is what package clip needs to assemble the six prompts of a
// checkpoint. Its slices are shared and must not be modified.
type Prompt struct {
	Categories    []string
	Position      Position
	ContextLength int       // L, learned vectors in each prompt
	ClassSpecific bool      // every category has vectors of its own
	Width         int       // W, length of one vector
	Context       []float32 // [6,L,W] if ClassSpecific, else [L,W]
}
