/** Something that keeps a command from doing its work: told as a sentence, exit status 1. */
export class Refusal extends Error {
  override readonly name = "Refusal";
}
