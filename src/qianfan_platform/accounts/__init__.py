"""Who calls: accounts, their apps and keys, tokens, and the gate that checks them."""
