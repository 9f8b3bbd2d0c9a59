"""VENDOR: a journey with the vendor's own library as it comes, by what the environment says; prints what it got."""
import sys

vendor = sys.argv[1]

if vendor == "openai":
    import openai

    client = openai.OpenAI(max_retries=0, timeout=20)
    whole = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}], max_tokens=9)
    print("whole", whole.usage.total_tokens)
    stream = client.chat.completions.create(
        model="gpt-4o", messages=[], max_tokens=9, stream=True, stream_options={"include_usage": True}
    )
    print("stream", [chunk.usage.total_tokens for chunk in stream if chunk.usage])
    try:
        client.chat.completions.create(model="o1", messages=[], max_tokens=9)
    except openai.APIStatusError as error:
        print("refused", error.status_code, error)
else:
    import anthropic

    client = anthropic.Anthropic(max_retries=0, timeout=20)
    ask = {"model": "claude-1", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    print("whole", client.messages.create(**ask).usage.output_tokens)
    with client.messages.stream(**ask) as stream:
        print("stream", "".join(stream.text_stream), stream.get_final_message().usage.output_tokens)
    try:
        client.messages.create(**{**ask, "model": "claude-2"})
    except anthropic.APIStatusError as error:
        print("refused", error.status_code, error)
