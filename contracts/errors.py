"""The one error tree of the rules that every party applies."""


class ContractViolation(ValueError):
    """Something breaks a rule that every party applies.

    ``code`` is stable and machine-readable; the message is one sentence for a person.
    """

    code = "contract_violation"


class InvalidTaskSpec(ContractViolation):
    """A task spec does not follow the schema."""

    code = "invalid_task_spec"


class InvalidMessage(ContractViolation):
    """A protocol message is malformed, out of range, or carries a wrong signature."""

    code = "invalid_message"


class InvalidAdapter(ContractViolation):
    """An adapter file or its tensors break the manifest."""

    code = "invalid_adapter"


class NotSafetensors(InvalidAdapter):
    """The bytes are not a safetensors file."""

    code = "not_safetensors"


class NotCanonical(InvalidAdapter):
    """The file holds the right tensors but is not in canonical form."""

    code = "not_canonical"


class TensorMissing(InvalidAdapter):
    """A tensor of the manifest is not in the adapter."""

    code = "tensor_missing"


class TensorUnexpected(InvalidAdapter):
    """The adapter holds a tensor that the manifest does not name."""

    code = "tensor_unexpected"


class WrongShape(InvalidAdapter):
    """A tensor has another shape than the manifest says."""

    code = "wrong_shape"


class WrongDtype(InvalidAdapter):
    """A tensor has another dtype than the manifest says."""

    code = "wrong_dtype"


class NotFinite(InvalidAdapter):
    """A tensor holds NaN or an infinity."""

    code = "not_finite"


class DigestMismatch(InvalidAdapter):
    """The bytes do not have the digest that was promised."""

    code = "digest_mismatch"


class BrokenArithmetic(RuntimeError):
    """This process computes otherwise than IEEE 754 says, so that its bytes would be nobody else's."""


class WrongParent(ContractViolation):
    """A proposal starts from another adapter than the round does."""

    code = "wrong_parent"
