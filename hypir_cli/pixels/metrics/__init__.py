"""Image scores as pure functions of tensors: nothing here reads a user's file or a setting."""
