from tensordict.nn import (
    InteractionType as InteractionType,
    interaction_type as interaction_type,
    set_interaction_type as set_interaction_type,
)
