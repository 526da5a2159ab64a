"""Trainer guide, events: a handler of one's own sees every step."""

import logging
import os

from qianfan.dataset import Dataset
from qianfan.trainer import LLMFinetune
from qianfan.trainer.configs import TrainConfig
from qianfan.trainer.consts import ActionState
from qianfan.trainer.event import Event, EventHandler
from qianfan.utils.logging import enable_log

enable_log(logging.DEBUG)
ds = Dataset.load(qianfan_dataset_id=int(os.environ["GUIDE_DATASET"]), is_download_to_local=False)
seen = []


class MyEventHandler(EventHandler):
    def dispatch(self, event: Event) -> None:
        print("receive:<", event)
        seen.append((event.action_id, event.action_state))
        if event.action_state == ActionState.Error:
            print(f"action {event.action_id} error :{event.data}")


eh = MyEventHandler()
trainer = LLMFinetune(
    train_type="Llama-2-13b",
    dataset=ds,
    train_config=TrainConfig(
        epochs=1,
        batch_size=1,
        learning_rate=0.00002,
    ),
    event_handler=eh,
)
trainer.run()

actions = list(trainer.actions)
pipeline = trainer.ppls[0].id
for action in actions:
    states = [state for ident, state in seen if ident == action]
    assert states[0] == ActionState.Preceding, states
    assert states[-1] == ActionState.Done, states
assert seen[0] == (pipeline, ActionState.Preceding), seen[0]
assert seen[-1] == (pipeline, ActionState.Done), seen[-1]
assert (actions[1], ActionState.Running) in seen
