"""The error of a wrong answer."""


class AnswerError(ValueError):
    """No result can be made of an answer.

    `place` says where: `features[17].geometry.coordinates[0]`; `detail` what is wrong there.
    """

    def __init__(self, place: str, detail: str) -> None:
        super().__init__(f"{place}: {detail}")
        self.place = place
        self.detail = detail
