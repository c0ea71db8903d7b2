package gateway

import (
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// promptField is the name of the prompt that a picture was made from: a query
// parameter, a member of an image in JSON, a part in multipart/form-data.
const promptField = "prompt"

// formPrompts gives the images of a form their prompts: one for each in the same
// order, or one for all.
func (b *batch) formPrompts(prompts []string) error {
	if n := len(prompts); n > 1 && n != len(b.items) {
		return quality.Errorf(quality.KindBadRequest,
			"the multipart body has %d images and %d prompts; send one prompt for each image, in their order, or one for all",
			len(b.items), n)
	}
	for i := range prompts {
		b.items[i].Prompt = prompts[i]
	}
	if len(prompts) == 1 {
		b.promptAll(prompts[0])
	}
	return nil
}

// promptAll gives prompt to every image that has none.
func (b *batch) promptAll(prompt string) {
	for i := range b.items {
		if b.items[i].Prompt == "" {
			b.items[i].Prompt = prompt
		}
	}
}

// withPrompt returns item with its prompt.
func withPrompt(item scoring.Item, prompt string) scoring.Item {
	item.Prompt = prompt
	return item
}
