"""One call: wait, sign, send, check, retry. The core yields what it needs; two thin edges do the waiting."""
