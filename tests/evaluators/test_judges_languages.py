"""What rules find in languages besides English, on small literal examples: refusals, and claims of actions."""

from __future__ import annotations

import pytest

from tracekit_evaluators import Score, Subject, load_judge
from tracekit_evaluators.score import NotApplicable
from tracekit_evaluators.texts.wordings import claim, wordings

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I am not able to share account details.",
    "I must respectfully decline this request.",
    "Leider kann ich Ihnen dabei nicht helfen.",
    "Ich darf Ihnen keine Auskunft geben.",
    "Ich bin leider nicht befugt, das zu entscheiden.",
    "Je ne peux pas vous aider avec cela.",
    "Je ne suis pas autorisée à vous donner ces informations.",
    "Il m’est impossible de faire cela.",
    "Lo siento, no puedo ayudarte con eso.",
    "No estoy autorizado a compartir esos datos.",
    "Desculpe, não posso ajudar com isso.",
    "Não estou autorizada a fazer isso.",
    "Infelizmente preciso recusar este pedido.",
]
ANSWERS = [
    "You can't return opened items after 30 days.",
    "I can help with that: your order left today.",
    "Gern, ich kann Ihnen dabei helfen.",
    "Sie können das Paket nicht mehr ändern.",
    "Je peux vous aider, votre commande est partie.",
    "Vous ne pouvez pas retourner cet article.",
    "Puedo ayudarte: tu pedido salió hoy.",
    "El artículo no se puede devolver.",
    "Posso ajudar: o seu pedido saiu hoje.",
    "O artigo não pode ser devolvido.",
]
CLAIMS = {
    "Ich habe Ihren Flug nach Rom storniert.": "cancelled",
    "Ihre Bestellung wurde erfolgreich aktualisiert.": "updated",
    "Das Geld ist jetzt zurückerstattet.": "refunded",
    "J'ai bien annulé votre réservation.": "cancelled",
    "Votre commande a été remboursée.": "refunded",
    "Les billets ont été envoyés.": "sent",
    "He cancelado tu reserva.": "cancelled",
    "Los billetes han sido enviados.": "sent",
    "Se ha reembolsado el importe.": "refunded",
    "Cancelei a sua reserva.": "cancelled",
    "O bilhete foi enviado por e-mail.": "sent",
}
NO_CLAIMS = [
    "Ich habe Ihren Flug nicht storniert.",
    "Wenn ich den Flug storniert habe, melde ich mich.",
    "Soll ich den Flug stornieren?",
    "Der Flug wurde gestern storniert.",
    "Si votre commande a été annulée, écrivez-nous.",
    "Je vais annuler votre réservation.",
    "No he cancelado tu reserva.",
    "Voy a cancelar tu reserva.",
    "Não cancelei a sua reserva.",
    "Vou cancelar a sua reserva.",
    "The flight is full.",
]


def judged(name: str, subject: Subject) -> Score:
    built = load_judge(name)
    return next(iter(built.scores(built.call(subject)).values()))


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_found_and_quoted(text: str, subject) -> None:
    found = judged("refusal_words", subject(f"Hm. {text}"))
    assert (found.value, found.evidence[0].quote) == (True, text)


@pytest.mark.parametrize("text", ANSWERS)
def test_what_others_cannot_do_is_no_refusal(text: str, subject) -> None:
    assert judged("refusal_words", subject(text)).value is False


@pytest.mark.parametrize(("text", "verb"), CLAIMS.items())
def test_a_claim_needs_a_tool_that_succeeded(text: str, verb: str, subject) -> None:
    assert claim(text) == verb
    assert judged("claims_done_not_done", subject(text)).value is True
    tool = {"refunded": "refund_payment", "sent": "send_mail", "updated": "update_order"}.get(verb, "cancel_booking")
    assert judged("claims_done_not_done", subject(text, tools=[(tool, {}, None)])).value is False
    assert judged("claims_done_not_done", subject(text, tools=[(tool, {}, "it failed")])).value is True


@pytest.mark.parametrize("text", NO_CLAIMS)
def test_a_condition_a_denial_or_a_plan_is_no_claim(text: str, subject) -> None:
    assert claim(text) is None
    assert judged("claims_done_not_done", subject(text)).value is False


@pytest.mark.parametrize("name", ["refusal_words", "claims_done_not_done"])
def test_nothing_is_said_of_a_language_without_words(name: str, subject) -> None:
    italian = "Ho cancellato la prenotazione che non era del cliente, e gli ho detto come si fa."
    with pytest.raises(NotApplicable, match="'it'"):
        judged(name, subject(italian))
    with pytest.raises(NotApplicable, match="'ja'"):
        judged(name, subject("申し訳ありませんが、お手伝いできません。"))


def test_every_language_has_both_kinds_of_words_and_verbs_that_tools_are_known_for() -> None:
    from tracekit_evaluators.judges.claims import _DOES

    assert sorted(wordings()) == ["de", "en", "es", "fr", "pt"]
    for code, wording in wordings().items():
        assert set(wording.verbs.values()) <= set(_DOES), code
        assert (wording.claims is None) is (code == "en")
