//! OpenAI's dialect: peeking into bodies, SSE events, error bodies, answers rendered as SSE.
